//! What a scrub has met, for the program's log.
//!
//! Full:    what nobody has asked for yet has a bound; all of it is counted.

use super::super::super::disk::Disk;
use super::super::super::mirror::Mirror;
use super::super::Journal;
use crate::unit::Life;
use std::collections::VecDeque;

/// Places that wait to be told.
const WAITING_MAX: usize = 16;
/// Places without a whole copy that are remembered, so that each is told once.
const KNOWN_MAX: usize = 256;

/// A damaged piece of a sealed segment on one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decay {
    pub volume: u32,
    /// Relative to the volume.
    pub file: String,
    /// Bytes from the start of the file.
    pub position: u64,
    /// It was restored from another copy; else no copy is whole.
    pub is_repaired: bool,
}

#[derive(Debug, Default)]
pub(super) struct Diary {
    waiting: VecDeque<Decay>,
    known: VecDeque<(Life, u32, u64)>,
}

impl Diary {
    fn note(&mut self, decay: Decay) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(decay);
        }
    }

    /// Whether this place was not met before. The oldest is forgotten when there are too many.
    fn is_new(&mut self, place: (Life, u32, u64)) -> bool {
        if self.known.contains(&place) {
            return false;
        }
        if KNOWN_MAX <= self.known.len() {
            self.known.pop_front();
        }
        self.known.push_back(place);
        true
    }
}

impl<D: Disk> Journal<D> {
    /// Damaged places that were met since this was asked last: repaired ones, and new ones without a whole copy.
    pub fn take_decay(&self) -> Vec<Decay> {
        let diary = &mut self.inner.borrow_mut().scrubbing.diary;
        std::mem::take(&mut diary.waiting).into()
    }

    fn decay(&self, life: Life, volume: u32, position: u64, is_repaired: bool) -> Option<Decay> {
        let inner = self.inner.borrow();
        let sealed = inner.sealed.iter().find(|sealed| sealed.life == life)?;
        Some(Decay {
            volume,
            file: sealed.name.clone(),
            position,
            is_repaired,
        })
    }
}

impl<D: Disk> Journal<Mirror<D>> {
    /// A piece was restored. What a rebuild copies anew is no news.
    pub(super) fn note_decay(&self, life: Life, volume: u32, position: u64, serving: bool) {
        if let Some(decay) = self.decay(life, volume, position, true).filter(|_| serving) {
            self.inner.borrow_mut().scrubbing.diary.note(decay);
        }
    }

    /// A piece has no whole copy.
    pub(super) fn note_loss(&self, life: Life, volume: u32, position: u64) {
        if let Some(decay) = self.decay(life, volume, position, false) {
            let diary = &mut self.inner.borrow_mut().scrubbing.diary;
            if diary.is_new((life, volume, position)) {
                diary.note(decay);
            }
        }
    }
}
