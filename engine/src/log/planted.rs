//! Bugs that a test may plant in the log, to show that the simulation finds such bugs.
//!
//! Always:  nothing is planted but by [`plant`], on the thread that called it. In a release build there is
//!          nothing to plant: [`is`] is a constant there.

use std::cell::Cell;

/// A mistake that the log does not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// A frame that is done counts, whether or not those before it are.
    AcknowledgeBeyondThePrefix,
    /// Recovery takes a frame for the next one because its number fits, whatever chain and epoch say.
    IgnoreTheChain,
    /// Recovery ends where a frame is not whole, and does not look for proof that it had been.
    CutOffSilently,
    /// A segment has its name before its bytes, and whoever finds it trusts its length.
    NameBeforeBytes,
    /// The index is searched for the batch before an offset, not for the one that holds it.
    IndexOffByOne,
    /// A footer counts whatever life it is of: the segment is whole, and its index is there.
    BelieveAnOldFooter,
    /// A segment is given to another use before its low watermarks are durable.
    RecycleEarly,
    /// What a start has found is not written and flushed again before it counts.
    TrustWhatWasFound,
    /// Offsets of requests that were refused are not given back.
    KeepRefusedOffsets,
    /// A damaged place is repaired from whichever copy comes first.
    RepairFromTheBadCopy,
    /// The file of a retired segment says that it is in use until somebody wants the file.
    LeaveRetiredInUse,
    /// A segment is rewritten without what is dead, and that it is dead is not durable yet.
    RepackEarly,
    /// A rewritten segment has the old one's name before its bytes are flushed.
    NameBeforeFlush,
    /// A batch of which one record alone is alive counts as dead.
    LeaveOutTheLast,
    /// A deleted topic is forgotten when all segments were looked at, whatever they hold.
    ForgetTombstones,
    /// A truncation is answered before it is durable.
    TruncateEarly,
    /// A topic of which nothing is alive is left out when a segment opens, and its offsets with it.
    ForgetEmptyTopics,
    /// Records go at half the age that they should have.
    LetGoTooYoung,
    /// A volume is put into service without what was written while the rest was copied to it.
    AdmitTooEarly,
    /// The right copy is the one with the highest sequence, of whatever epoch.
    TrustTheLongest,
}

thread_local! {
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Plants a bug on this thread, or takes it out.
pub fn plant(bug: Option<Planted>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted here.
#[inline]
pub(super) fn is(bug: Planted) -> bool {
    cfg!(debug_assertions) && PLANTED.get() == Some(bug)
}
