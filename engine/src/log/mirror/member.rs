//! Who takes part in a mirror, by which rules, and a file that is open on all of them.

use super::super::disk::Disk;
use super::Shared;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// One volume.
#[derive(Clone)]
pub struct Member<D> {
    /// The number in its superblock. A volume that is made anew gets another.
    pub volume: u32,
    /// Where it is, for messages.
    pub name: Rc<str>,
    pub disk: D,
}

/// When a call has done enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// With fewer volumes in service nothing is acknowledged.
    pub volumes_min: u32,
    /// Copies that a durable write waits for; 0 for all in service.
    pub durable_volumes: u32,
    /// Bytes that a volume may have still to write when it is not waited for.
    pub lag_bytes_max: u64,
}

/// How a volume stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    InService,
    /// Out of service until it is rebuilt.
    Fenced {
        reason: Rc<str>,
    },
    /// Bytes that were copied to it, of so many.
    Rebuilding {
        done: u64,
        total: u64,
    },
    Absent {
        reason: Rc<str>,
    },
}

/// One volume's state, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub volume: u32,
    pub name: Rc<str>,
    pub state: State,
}

/// What was to be durable is durable on the volumes in service, but they are too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "only {in_service} of {volumes} volumes are in service and log.min_volumes is {volumes_min}: \
     bring a volume back, or lower log.min_volumes"
)]
pub struct TooFew {
    pub in_service: u32,
    pub volumes: u32,
    pub volumes_min: u32,
}

/// Whether an error of a [`super::Mirror`] says only that too few volumes are in service.
pub fn is_too_few(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner
        .and_then(|inner| inner.downcast_ref::<TooFew>())
        .is_some()
}

/// The result of a call from which nothing is acknowledged: too few volumes have done it as well as any.
pub fn unless_too_few(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_too_few(&error) => Ok(()),
        other => other,
    }
}

pub(super) fn nobody() -> io::Error {
    io::Error::other("no volume is in service")
}

/// A file that is open on every member in service.
pub struct MirrorFile<D: Disk> {
    pub(super) shared: Rc<Shared<D>>,
    pub(super) number: u64,
    pub(super) handles: Rc<Handles<D>>,
}

/// The handles of one file.
pub(super) struct Handles<D: Disk> {
    /// `None` when it was removed.
    pub(super) path: RefCell<Option<Rc<str>>>,
    pub(super) by_volume: RefCell<Vec<(u32, Rc<D::File>)>>,
}

impl<D: Disk> Handles<D> {
    pub(super) fn of(&self, volume: u32) -> Option<Rc<D::File>> {
        let handles = self.by_volume.borrow();
        let handle = handles.iter().find(|(number, _)| *number == volume);
        handle.map(|(_, file)| file.clone())
    }

    pub(super) fn forget(&self, volume: u32) {
        let mut handles = self.by_volume.borrow_mut();
        handles.retain(|(number, _)| *number != volume);
    }
}

impl<D: Disk> MirrorFile<D> {
    pub(super) fn new(shared: &Rc<Shared<D>>, path: &str, files: Vec<(u32, D::File)>) -> Self {
        let by_volume = files
            .into_iter()
            .map(|(volume, file)| (volume, Rc::new(file)));
        let handles = Rc::new(Handles {
            path: RefCell::new(Some(path.into())),
            by_volume: RefCell::new(by_volume.collect()),
        });
        let number = shared.next_number();
        let weak = Rc::downgrade(&handles);
        shared.files.borrow_mut().insert(number, weak);
        Self {
            shared: shared.clone(),
            number,
            handles,
        }
    }

    /// Its name now; `None` when it was removed.
    pub fn path(&self) -> Option<Rc<str>> {
        self.handles.path.borrow().clone()
    }

    /// The handle on one volume.
    pub fn on(&self, volume: u32) -> Option<Rc<D::File>> {
        self.handles.of(volume)
    }
}

impl<D: Disk> Drop for MirrorFile<D> {
    fn drop(&mut self) {
        self.shared.files.borrow_mut().remove(&self.number);
    }
}
