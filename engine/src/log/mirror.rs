//! The volumes of one journal as one disk: whatever is changed is changed on all that are in service.
//!
//! Layout:  a [`Mirror`] is a [`Disk`] over [`Member`]s, whose number is in their superblock. A call becomes
//!          one job for each member ([`call`]); jobs that nobody waits for any more go on under the
//!          [`Tender`].
//! Always:  a durable write or a flush that resolves well is done on every member in service, or on as many as the rules ask
//!          for while the others have it queued. A member does what was resolved to the caller in that
//!          order, so it never sees an older write after a newer one.
//!          A member that could not do what another could is fenced: none of its handles is used again.
//! Core:    one shard; with one member a call is passed on as it is.
//! Cancel:  with several members, a call that is dropped is still done on all of them, under the Tender.
//! Full:    a member that lags behind by more than the allowed bytes is fenced.

mod call;
mod changes;
mod disk;
mod member;
mod seat;
mod tender;

#[cfg(test)]
mod tests;

pub use changes::Changes;
pub use member::{Member, MirrorFile, Rules, Standing, State, TooFew, is_too_few, unless_too_few};
pub use seat::Hold;
pub use tender::Tender;

use super::disk::Disk;
use super::wake::{Bell, Gong};
use crate::unit::Micros;
use call::Job;
use member::Handles;
use seat::Seat;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::{Rc, Weak};

/// One journal's volumes; cheap to clone.
pub struct Mirror<D: Disk> {
    shared: Rc<Shared<D>>,
}

struct Shared<D: Disk> {
    rules: Rules,
    /// Makes buffers, which fit every member.
    maker: D,
    /// In the order of the configuration; those that are not in service have no disk.
    seats: RefCell<Vec<Seat<D>>>,
    /// Every open file, so that a returning member can open them too.
    files: RefCell<BTreeMap<u64, Weak<Handles<D>>>>,
    /// Of the next job or file.
    number: Cell<u64>,
    /// Files that are being opened.
    opening: Cell<usize>,
    /// Jobs on their way to the Tender.
    handed: RefCell<Vec<Job>>,
    /// The Tender runs. Without it nothing is left to it.
    tending: Cell<bool>,
    /// It will never run again.
    untended: Cell<bool>,
    tender: Bell,
    /// No call begins while this is so.
    held: Cell<bool>,
    /// What was touched since a rebuild has last looked.
    changes: RefCell<Option<Changes>>,
    /// A job has ended, or a hold.
    progress: Gong,
    /// Somebody was fenced or admitted.
    shifts: Gong,
    /// Counts these.
    shift: Cell<u64>,
    mirrors: Cell<usize>,
}

impl<D: Disk> Clone for Mirror<D> {
    fn clone(&self) -> Self {
        self.shared.mirrors.update(|mirrors| mirrors + 1);
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<D: Disk> Drop for Mirror<D> {
    fn drop(&mut self) {
        self.shared.mirrors.update(|mirrors| mirrors - 1);
        self.shared.tender.ring();
    }
}

impl<D: Disk> Mirror<D> {
    /// All of `members` in service. The Tender's `run` is to be spawned; until it runs, every call waits for
    /// all members.
    ///
    /// # Panics
    /// When there is no member, or two have the same number.
    pub fn new(members: Vec<Member<D>>, rules: Rules) -> (Self, Tender<D>) {
        assert!(!members.is_empty());
        let maker = members[0].disk.clone();
        let seats: Vec<_> = members.into_iter().map(Seat::in_service).collect();
        let numbers: std::collections::BTreeSet<_> = seats.iter().map(|seat| seat.volume).collect();
        assert_eq!(numbers.len(), seats.len(), "each volume is there once");
        let shared = Rc::new(Shared {
            rules,
            maker,
            seats: RefCell::new(seats),
            files: RefCell::default(),
            number: Cell::new(1),
            opening: Cell::new(0),
            handed: RefCell::default(),
            tending: Cell::new(false),
            untended: Cell::new(false),
            tender: Bell::default(),
            held: Cell::new(false),
            changes: RefCell::default(),
            progress: Gong::default(),
            shifts: Gong::default(),
            shift: Cell::new(0),
            mirrors: Cell::new(1),
        });
        let tender = Tender::new(shared.clone());
        (Self { shared }, tender)
    }

    pub fn rules(&self) -> Rules {
        self.shared.rules
    }

    /// Every volume that is known, in service or not.
    pub fn standing(&self) -> Vec<Standing> {
        let seats = self.shared.seats.borrow();
        seats.iter().map(Seat::standing).collect()
    }

    /// The numbers of the volumes in service, ascending.
    pub fn members(&self) -> Vec<u32> {
        let mut members = self.shared.in_service();
        members.sort_unstable();
        members
    }

    /// The disk of a volume in service.
    pub fn member_disk(&self, volume: u32) -> Option<D> {
        let seats = self.shared.seats.borrow();
        seats
            .iter()
            .find(|seat| seat.volume == volume)
            .and_then(|seat| seat.disk.clone())
    }

    /// Why nothing can be acknowledged: fewer volumes are in service than the rules ask for.
    pub fn shortage(&self) -> Option<TooFew> {
        self.shared.shortage()
    }

    /// Takes a volume out of service, for a reason that the Mirror cannot see. The last one stays.
    pub fn fence(&self, volume: u32, reason: &str) {
        if 1 < self.shared.in_service().len() {
            self.shared.fence(volume, reason);
        }
    }

    /// To be called a few times a second: takes out of service who has not answered for so long though others
    /// have. A disk that hangs would otherwise be waited for without end.
    pub fn watch(&self, now: Micros, wait_us_max: u64) {
        for volume in self.shared.stalled(now, wait_us_max) {
            let reason = format!("it has not answered for {} ms", wait_us_max / 1000);
            self.fence(volume, &reason);
        }
    }

    /// Says how a volume stands that is not in service, so that [`Mirror::standing`] tells it.
    pub fn set_state(&self, volume: u32, name: &Rc<str>, state: State) {
        self.shared.set_state(volume, name, state);
    }

    /// Lets no call begin until the hold is dropped; waits until `volume` has done what it was given, or is
    /// out of service.
    pub async fn hold(&self, volume: u32) -> Hold<D> {
        Hold::take(&self.shared, volume).await
    }

    /// Takes a volume into service that holds the same bytes as the others. Every open file is opened on it.
    /// It counts for the rules only after [`Disk::confirm`]; until then every call waits for all members.
    /// An error changes nothing.
    pub async fn admit(&self, hold: &Hold<D>, member: Member<D>) -> io::Result<()> {
        assert!(Rc::ptr_eq(&self.shared, &hold.shared));
        self.shared.admit(member).await
    }

    /// Begins to note what is changed; `false` when somebody does already.
    pub fn watch_changes(&self) -> bool {
        let mut changes = self.shared.changes.borrow_mut();
        let free = changes.is_none();
        changes.get_or_insert_default();
        free
    }

    /// What was changed since the last call.
    pub fn take_changes(&self) -> Changes {
        let mut changes = self.shared.changes.borrow_mut();
        changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Ends what [`Mirror::watch_changes`] began.
    pub fn forget_changes(&self) {
        self.shared.changes.borrow_mut().take();
    }

    /// Waits until this volume has done all that it lags behind with, or is out of service.
    pub async fn caught_up(&self, volume: u32) {
        let behind = self.shared.lagging(volume);
        let caught_up = || self.shared.has_done(volume, behind);
        self.shared.progress.until(caught_up).await;
    }
}
