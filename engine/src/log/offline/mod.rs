//! The commands that read a store on its volume without serving it: stopped, killed, or running.
//!
//! Layout:  [`plain`] is the disk, [`volume`] says what a journal holds and where it ends (by the engine's
//!          own recovery), [`chain`] goes through it frame by frame; each command has a file.
//! Always:  a store is opened for reading and never changed, but by [`rebuild_catalogue`], [`repair`] and [`adopt`],
//!          which take the exclusive lock. Of a store that is stopped or was killed everything is shown that its next start
//!          would take up; of a running one only what a later frame (`durable_upto`) proves to be durable.
//! Core:    any one thread; it blocks.
//! Cancel:  a reader that goes away (a broken pipe) ends a command quietly.
//! Full:    memory is bounded by one frame, one segment's index, and the table of topics.

mod adopt;
mod audit;
mod cat;
mod catalogue;
mod chain;
mod plain;
mod repair;
mod sorted;
mod topics;
mod verify;
mod volume;

#[cfg(test)]
mod tests;

use super::format::{Defect, StoreId};
use super::journal::StartError;
use super::reconcile::ReconcileError;
use super::recover::RecoverError;
use super::store::StoreError;
use std::io::{self, Write};
use std::path::PathBuf;

/// What to read, and how to print it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The store's folders. They hold the same bytes: records are read from the first, all are verified.
    pub volumes: Vec<PathBuf>,
    /// Only the topic of this name.
    pub topic: Option<String>,
    /// Only this partition, which is the journal of the same number.
    pub partition: Option<u32>,
    /// The first offset of each topic and partition to print.
    pub offset: Option<u64>,
    /// Records of each topic and partition to print at most.
    pub limit: Option<u64>,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
    /// The values alone, each with a newline behind it.
    Raw,
}

/// Why a command could not do its work: one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no volume was named")]
    NoVolume,
    #[error("cannot open the volume {}: {source}", path.display())]
    Volume { path: PathBuf, source: io::Error },
    #[error("{} is not a store: it has no superblock", path.display())]
    NotAStore { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Store { path: PathBuf, source: StoreError },
    #[error("{}: {source}", path.display())]
    Recover { path: PathBuf, source: RecoverError },
    #[error("{} is damaged at byte {position}: {what}", path.display())]
    Damaged {
        path: PathBuf,
        position: u64,
        what: String,
    },
    #[error("could not read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the store has no topic {0:?}")]
    NoTopic(String),
    #[error("the store has no partition {wanted}: its journals are 0 to {last}")]
    NoPartition { wanted: u32, last: u32 },
    #[error("{} is in use by another process: stop it first", path.display())]
    InUse { path: PathBuf },
    #[error("{} is being written to faster than it can be read: try again", path.display())]
    Busy { path: PathBuf },
    #[error("could not {deed} in {}: {source}", path.display())]
    Change {
        deed: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("could not write the catalogue in {}: {source}", path.display())]
    Catalogue { path: PathBuf, source: StartError },
    #[error("{0}")]
    Reconcile(#[from] ReconcileError),
    #[error("could not take up {folder}: {source}")]
    TakeUp { folder: String, source: StartError },
    #[error("could not write the output: {0}")]
    Output(#[source] io::Error),
}

/// Lists each topic and partition with its first and next offset. `true` when nothing was amiss.
pub fn topics(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    quietly(topics::run(options, out))
}

/// Prints records, partition by partition, oldest first. `true` when nothing was amiss; damage on the way
/// is an error, after everything before it was printed.
pub fn cat(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    quietly(cat::run(options, out))
}

/// Checks every checksum, the chain, and what frames, checkpoints, footers and catalogue say of each other.
/// Prints one JSON object on one line: counts, and `places`, the first hundred of the damaged ones. `false`
/// when anything is damaged. A torn tail that a start would drop is no damage.
pub fn verify(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    quietly(verify::run(options, out))
}

/// Repairs on each volume what is damaged there and whole on another, then does what [`verify`] does; what was
/// repaired is in `repaired` and `repairs`. Takes the exclusive lock. It asks for all volumes that a start would
/// ask for, and stops where a start would stop.
pub fn repair(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    quietly(verify::after_repair(options, out))
}

/// Writes the catalogue of each volume anew when it lacks names that the segments define. Takes the
/// exclusive lock. `true` when every segment could be read to its end.
pub fn rebuild_catalogue(volumes: &[PathBuf], out: &mut dyn Write) -> Result<bool, Error> {
    quietly(catalogue::run(volumes, out))
}

/// Gives who forwards these journals (all, when none is named) a new name, under which Kafka knows nothing yet. Takes
/// the exclusive lock, and asks for all volumes that a start would ask for.
pub fn adopt(
    volumes: &[PathBuf],
    journals: &[u32],
    name: u128,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    quietly(adopt::run(volumes, journals, StoreId(name), out))
}

/// A reader that has seen enough is no failure.
fn quietly(done: Result<bool, Error>) -> Result<bool, Error> {
    match done {
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        other => other,
    }
}

/// One line that says what is wrong with a place.
fn tell(defect: Defect) -> String {
    defect.to_string()
}
