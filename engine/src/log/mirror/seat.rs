//! What the mirror knows of each volume: whether it is in service, and what it has still to do.

use super::super::disk::Disk;
use super::call::Target;
use super::member::{Handles, nobody};
use super::{Member, Shared, Standing, State, TooFew};
use crate::unit::Micros;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

pub(super) struct Seat<D> {
    pub(super) volume: u32,
    name: Rc<str>,
    /// `None` when it is not in service.
    pub(super) disk: Option<D>,
    state: State,
    /// The journal's chain says that it is a member.
    counted: bool,
    /// Jobs that have not ended. Those of a fenced volume count too: they may still reach it.
    outstanding: BTreeSet<u64>,
    /// The oldest of them when it was looked at last, and since when it has been that.
    watched: Option<(u64, Micros)>,
    /// Those of them that are left to the Tender, by number, with their bytes.
    lagging: BTreeMap<u64, u64>,
}

impl<D: Disk> Seat<D> {
    pub(super) fn in_service(member: Member<D>) -> Self {
        Self {
            volume: member.volume,
            name: member.name,
            disk: Some(member.disk),
            state: State::InService,
            counted: true,
            outstanding: BTreeSet::new(),
            watched: None,
            lagging: BTreeMap::new(),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            volume: self.volume,
            name: self.name.clone(),
            state: self.state.clone(),
        }
    }

    pub(super) fn lag_bytes(&self) -> u64 {
        self.lagging.values().sum()
    }
}

impl<D: Disk> Shared<D> {
    pub(super) fn next_number(&self) -> u64 {
        self.number.replace(self.number.get() + 1)
    }

    fn with_seat<T>(&self, volume: u32, look: impl FnOnce(&mut Seat<D>) -> T) -> Option<T> {
        let mut seats = self.seats.borrow_mut();
        let seat = seats.iter_mut().find(|seat| seat.volume == volume);
        seat.map(look)
    }

    /// In the order of the configuration.
    pub(super) fn in_service(&self) -> Vec<u32> {
        let seats = self.seats.borrow();
        let in_service = seats.iter().filter(|seat| seat.disk.is_some());
        in_service.map(|seat| seat.volume).collect()
    }

    /// The only volume in service, when it has nothing to catch up with.
    pub(super) fn alone(&self) -> Option<u32> {
        let seats = self.seats.borrow();
        let mut in_service = seats.iter().filter(|seat| seat.disk.is_some());
        let first = in_service.next().filter(|seat| seat.lagging.is_empty());
        let others = in_service.next().is_some();
        first.filter(|_| !others).map(|seat| seat.volume)
    }

    pub(super) fn is_in_service(&self, volume: u32) -> bool {
        self.with_seat(volume, |seat| seat.disk.is_some()) == Some(true)
    }

    pub(super) fn shortage(&self) -> Option<TooFew> {
        let seats = self.seats.borrow();
        let counts = |seat: &&Seat<D>| seat.disk.is_some() && seat.counted;
        let in_service = seats.iter().filter(counts).count() as u32;
        (in_service < self.rules.volumes_min).then_some(TooFew {
            in_service,
            volumes: seats.len() as u32,
            volumes_min: self.rules.volumes_min,
        })
    }

    pub(super) fn target(
        &self,
        volume: u32,
        handles: Option<&Handles<D>>,
    ) -> io::Result<Target<D>> {
        let disk = self.with_seat(volume, |seat| seat.disk.clone()).flatten();
        Ok(Target {
            volume,
            disk: disk.ok_or_else(nobody)?,
            file: handles.and_then(|handles| handles.of(volume)),
        })
    }

    // ---- jobs ----

    pub(super) fn begin_job(&self, volume: u32, number: u64) {
        self.with_seat(volume, |seat| seat.outstanding.insert(number));
    }

    pub(super) fn end_job(&self, volume: u32, number: u64) {
        self.with_seat(volume, |seat| {
            seat.outstanding.remove(&number);
            seat.lagging.remove(&number);
        });
        self.progress.ring();
    }

    /// Nobody waits for this job any more.
    pub(super) fn let_lag(&self, volume: u32, number: u64, bytes: u64) {
        let lag = self.with_seat(volume, |seat| {
            seat.lagging.insert(number, bytes);
            seat.lag_bytes()
        });
        if self.rules.lag_bytes_max < lag.unwrap_or_default() {
            let reason = format!(
                "it lags behind the others by {} bytes",
                lag.unwrap_or_default()
            );
            self.fence(volume, &reason);
        }
    }

    /// The newest job that is left to the Tender; 0 when there is none.
    pub(super) fn lagging(&self, volume: u32) -> u64 {
        let newest = |seat: &mut Seat<D>| seat.lagging.last_key_value().map(|(number, _)| *number);
        self.with_seat(volume, newest).flatten().unwrap_or(0)
    }

    /// Whether the volume has done everything that was left to the Tender up to this job, or never will.
    pub(super) fn has_done(&self, volume: u32, upto: u64) -> bool {
        let has = |seat: &mut Seat<D>| {
            let first = seat.lagging.first_key_value().map(|(number, _)| *number);
            seat.disk.is_none() || first.is_none_or(|first| upto < first)
        };
        self.with_seat(volume, has).unwrap_or(true)
    }

    /// Whether a volume out of service still has jobs that may reach it.
    pub(super) fn is_haunted(&self, volume: u32) -> bool {
        let haunted = |seat: &mut Seat<D>| !seat.outstanding.is_empty();
        self.with_seat(volume, haunted).unwrap_or(false)
    }

    fn is_quiet(&self, volume: u32) -> bool {
        let quiet = |seat: &mut Seat<D>| seat.disk.is_none() || seat.outstanding.is_empty();
        self.opening.get() == 0 && self.with_seat(volume, quiet).unwrap_or(true)
    }

    /// Until no hold keeps calls from beginning.
    pub(super) async fn gate(&self) {
        self.progress.until(|| !self.held.get()).await;
    }

    /// Whether jobs may be left to the Tender while their caller goes on.
    pub(super) fn may_leave(&self) -> bool {
        let seats = self.seats.borrow();
        let mut in_service = seats.iter().filter(|seat| seat.disk.is_some());
        self.tending.get() && in_service.all(|seat| seat.counted)
    }

    /// The volumes whose oldest job has not ended for so long, though another volume has done it.
    pub(super) fn stalled(&self, now: Micros, wait_us_max: u64) -> Vec<u32> {
        let mut seats = self.seats.borrow_mut();
        let mut oldest = Vec::new();
        for seat in seats.iter_mut().filter(|seat| seat.disk.is_some()) {
            let first = seat.outstanding.first().copied();
            if first != seat.watched.map(|(number, _)| number) {
                seat.watched = first.map(|number| (number, now));
            }
            oldest.push(first.unwrap_or(u64::MAX));
        }
        let furthest = oldest.into_iter().max().unwrap_or(0);
        let stalls = |seat: &&Seat<D>| {
            let waits = |(number, since): (u64, Micros)| {
                number < furthest && wait_us_max < now.since(since)
            };
            seat.disk.is_some() && seat.watched.is_some_and(waits)
        };
        seats
            .iter()
            .filter(stalls)
            .map(|seat| seat.volume)
            .collect()
    }

    // ---- coming and going ----

    pub(super) fn fence(&self, volume: u32, reason: &str) {
        let fenced = self.with_seat(volume, |seat| {
            let reason = reason.into();
            let disk = seat.disk.take();
            if disk.is_some() {
                seat.state = State::Fenced { reason };
            }
            disk.is_some()
        });
        if fenced != Some(true) {
            return;
        }
        for file in self.files.borrow().values() {
            if let Some(handles) = file.upgrade() {
                handles.forget(volume);
            }
        }
        self.note_shift();
    }

    fn note_shift(&self) {
        self.shift.set(self.shift.get() + 1);
        self.shifts.ring();
        self.progress.ring();
    }

    pub(super) fn set_state(&self, volume: u32, name: &Rc<str>, state: State) {
        let set = self.with_seat(volume, |seat| {
            if seat.disk.is_none() {
                seat.state = state.clone();
            }
        });
        if set.is_none() {
            self.seats.borrow_mut().push(Seat {
                volume,
                name: name.clone(),
                disk: None,
                state,
                counted: false,
                outstanding: BTreeSet::new(),
                watched: None,
                lagging: BTreeMap::new(),
            });
        }
    }

    pub(super) async fn admit(&self, member: Member<D>) -> io::Result<()> {
        let volume = member.volume;
        assert!(!self.is_in_service(volume));
        if self.is_haunted(volume) {
            return Err(io::Error::other("it still has writes from before to end"));
        }
        let files: Vec<_> = self.files.borrow().values().cloned().collect();
        let mut opened = Vec::new();
        for handles in files.iter().filter_map(std::rc::Weak::upgrade) {
            let path = handles.path.borrow().clone();
            if let Some(path) = path {
                opened.push((handles, member.disk.open(&path).await?));
            }
        }
        for (handles, file) in opened {
            let mut by_volume = handles.by_volume.borrow_mut();
            by_volume.push((volume, Rc::new(file)));
        }
        let mut seats = self.seats.borrow_mut();
        let place = seats.iter().position(|seat| seat.volume == volume);
        let mut seat = Seat::in_service(member);
        seat.counted = false;
        match place {
            Some(place) => seats[place] = seat,
            None => seats.push(seat),
        }
        drop(seats);
        self.note_shift();
        Ok(())
    }

    pub(super) fn confirm(&self, shift: u64) {
        if shift != self.shift.get() {
            return;
        }
        let mut news = false;
        for seat in self.seats.borrow_mut().iter_mut() {
            if seat.disk.is_some() {
                news |= !std::mem::replace(&mut seat.counted, true);
            }
        }
        if news {
            self.note_shift();
        }
    }

    /// Open files take the new name when a file is renamed. One that had it before has none: a volume that
    /// comes later must not open the new file for it.
    pub(super) fn follow_rename(&self, from: &str, to: &str) {
        self.follow_removal(to);
        self.rename_open(from, Some(to));
    }

    /// Open files lose their names when they are removed.
    pub(super) fn follow_removal(&self, path: &str) {
        self.rename_open(path, None);
    }

    fn rename_open(&self, from: &str, to: Option<&str>) {
        for file in self.files.borrow().values() {
            let Some(handles) = file.upgrade() else {
                continue;
            };
            let mut path = handles.path.borrow_mut();
            if path.as_deref() == Some(from) {
                *path = to.map(Rc::from);
            }
        }
    }
}

/// No call begins while this is held.
pub struct Hold<D: Disk> {
    pub(super) shared: Rc<Shared<D>>,
}

impl<D: Disk> Hold<D> {
    pub(super) async fn take(shared: &Rc<Shared<D>>, volume: u32) -> Self {
        shared.gate().await;
        shared.held.set(true);
        let hold = Self {
            shared: shared.clone(),
        };
        shared.progress.until(|| shared.is_quiet(volume)).await;
        hold
    }
}

impl<D: Disk> Drop for Hold<D> {
    fn drop(&mut self) {
        self.shared.held.set(false);
        self.shared.progress.ring();
    }
}

/// A file is being opened: whoever is admitted meanwhile would not have it.
pub(super) struct Opening<D: Disk> {
    shared: Rc<Shared<D>>,
}

impl<D: Disk> Opening<D> {
    pub(super) fn begin(shared: &Rc<Shared<D>>) -> Self {
        shared.opening.update(|files| files + 1);
        Self {
            shared: shared.clone(),
        }
    }
}

impl<D: Disk> Drop for Opening<D> {
    fn drop(&mut self) {
        self.shared.opening.update(|files| files - 1);
        self.shared.progress.ring();
    }
}
