//! What is touched while a volume is rebuilt, so that it can be copied again.

use super::super::disk::Disk;
use super::member::Handles;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What a call changes.
pub(super) enum Touch<D: Disk> {
    Nothing,
    /// Files of these names come, go, or are others.
    Names(Vec<String>),
    Bytes {
        file: Rc<Handles<D>>,
        position: u64,
        bytes: u64,
    },
}

impl<D: Disk> Clone for Touch<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Names(names) => Self::Names(names.clone()),
            Self::Bytes {
                file,
                position,
                bytes,
            } => Self::Bytes {
                file: file.clone(),
                position: *position,
                bytes: *bytes,
            },
        }
    }
}

/// Ranges of one file that are kept apart; a file with more is copied whole.
const RANGES_MAX: usize = 1024;

/// What was touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files that are to be copied whole, or removed when they are gone.
    pub names: BTreeSet<String>,
    /// Stretches of other files: start and end.
    pub ranges: BTreeMap<String, BTreeMap<u64, u64>>,
}

impl Changes {
    pub(super) fn note<D: Disk>(&mut self, touch: &Touch<D>) {
        match touch {
            Touch::Nothing => {}
            Touch::Names(names) => {
                for name in names {
                    self.ranges.remove(name);
                    self.names.insert(name.clone());
                }
            }
            Touch::Bytes {
                file,
                position,
                bytes,
            } => {
                if let Some(path) = file.path.borrow().as_deref() {
                    self.note_range(path, *position, position + bytes);
                }
            }
        }
    }

    fn note_range(&mut self, path: &str, start: u64, end: u64) {
        if self.names.contains(path) {
            return;
        }
        if !self.ranges.contains_key(path) {
            self.ranges.insert(path.to_owned(), BTreeMap::new());
        }
        let Some(ranges) = self.ranges.get_mut(path) else {
            return;
        };
        let (mut start, mut end) = (start, end);
        // Those that it touches become one with it.
        while let Some((other, other_end)) = ranges.range(..=end).next_back() {
            let (other, other_end) = (*other, *other_end);
            if other_end < start {
                break;
            }
            ranges.remove(&other);
            start = start.min(other);
            end = end.max(other_end);
        }
        ranges.insert(start, end);
        if RANGES_MAX < ranges.len() {
            self.ranges.remove(path);
            self.names.insert(path.to_owned());
        }
    }

    /// Bytes that are known to be touched, without those of whole files.
    pub fn range_bytes(&self) -> u64 {
        let ranges = self.ranges.values().flatten();
        ranges.map(|(start, end)| end - start).sum()
    }
}
