//! A call on all members: a job for each, a verdict when enough of them are done.
//!
//! Always:  a job begins only when its member has done everything that was resolved to the caller before.
//! Cancel:  a dropped call leaves its jobs to the Tender.

use super::super::disk::Disk;
use super::changes::Touch;
use super::member::{Handles, nobody};
use super::{Shared, TooFew};
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What is done on one member. It ends by itself, whoever polls it.
pub(super) type Job = Pin<Box<dyn Future<Output = ()>>>;

/// Bytes that a job without any counts for.
const JOB_BYTES: u64 = 4096;

/// Whether a call makes something durable, and its caller may be answered before all members have done it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lag {
    Never,
    Allowed,
}

impl Lag {
    /// What is acknowledged needs enough members; the rest is prepared on those that are there.
    fn shortage<D: Disk>(self, shared: &Shared<D>) -> Option<TooFew> {
        match self {
            Self::Never => None,
            Self::Allowed => shared.shortage(),
        }
    }
}

/// What to do on each member, but for the deed itself.
pub(super) struct Order<D: Disk> {
    pub(super) handles: Option<Rc<Handles<D>>>,
    pub(super) touch: Touch<D>,
    pub(super) bytes: u64,
    pub(super) lag: Lag,
}

impl<D: Disk> Default for Order<D> {
    fn default() -> Self {
        Self {
            handles: None,
            touch: Touch::Nothing,
            bytes: JOB_BYTES,
            lag: Lag::Never,
        }
    }
}

impl<D: Disk> Order<D> {
    pub(super) fn write(handles: &Rc<Handles<D>>, position: u64, bytes: u64, lag: Lag) -> Self {
        Self {
            handles: Some(handles.clone()),
            touch: Touch::Bytes {
                file: handles.clone(),
                position,
                bytes,
            },
            bytes,
            lag,
        }
    }
}

/// Where a job is done.
pub(super) struct Target<D: Disk> {
    pub(super) volume: u32,
    pub(super) disk: D,
    pub(super) file: Option<Rc<D::File>>,
}

impl<D: Disk> Target<D> {
    pub(super) fn file(&self) -> io::Result<&D::File> {
        self.file.as_deref().ok_or_else(nobody)
    }
}

/// One job's place among its member's, from the call's begin to the job's end.
struct Place<D: Disk> {
    shared: Rc<Shared<D>>,
    volume: u32,
    number: u64,
    /// The jobs up to this one that were left to the Tender come first.
    behind: u64,
    touch: Touch<D>,
}

impl<D: Disk> Place<D> {
    fn take(shared: &Rc<Shared<D>>, volume: u32, number: u64, touch: Touch<D>) -> Self {
        shared.begin_job(volume, number);
        Self {
            shared: shared.clone(),
            volume,
            number,
            behind: shared.lagging(volume),
            touch,
        }
    }
}

impl<D: Disk> Drop for Place<D> {
    fn drop(&mut self) {
        if let Some(changes) = &mut *self.shared.changes.borrow_mut() {
            changes.note(&self.touch);
        }
        self.shared.end_job(self.volume, self.number);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Awaited,
    /// The caller was told that it is done.
    Resolved,
    /// Nobody wants to know.
    Abandoned,
}

/// What the members have said.
struct Call<T> {
    members: Vec<u32>,
    good: RefCell<Vec<(u32, T)>>,
    bad: RefCell<Vec<(u32, io::Error)>>,
    stage: Cell<Stage>,
}

impl<T> Call<T> {
    fn has_ended(&self, volume: u32) -> bool {
        let good = self.good.borrow();
        let bad = self.bad.borrow();
        good.iter().any(|(number, _)| *number == volume)
            || bad.iter().any(|(number, _)| *number == volume)
    }

    /// Members in service that have done it.
    fn copies<D: Disk>(&self, shared: &Shared<D>) -> usize {
        let good = self.good.borrow();
        let serving = good
            .iter()
            .filter(|(volume, _)| shared.is_in_service(*volume));
        serving.count()
    }

    fn is_complete<D: Disk>(&self, shared: &Shared<D>) -> bool {
        let mut members = self.members.iter();
        members.all(|volume| self.has_ended(*volume) || !shared.is_in_service(*volume))
    }

    fn note<D: Disk>(&self, shared: &Shared<D>, volume: u32, result: io::Result<T>) {
        match result {
            Ok(value) => self.good.borrow_mut().push((volume, value)),
            Err(error) => self.bad.borrow_mut().push((volume, error)),
        }
        self.judge(shared);
    }

    /// Fences members that could not do what others could. When none could, that is for the caller to hear;
    /// but when it was told otherwise, or is not there, no two members may stay that differ.
    fn judge<D: Disk>(&self, shared: &Shared<D>) {
        let differ = 0 < self.copies(shared);
        let unheard = self.stage.get() == Stage::Abandoned && self.is_complete(shared);
        let promised = self.stage.get() == Stage::Resolved;
        for (volume, error) in &*self.bad.borrow() {
            let alone = shared.in_service().len() <= 1;
            if differ || promised || (unheard && !alone) {
                shared.fence(*volume, &error.to_string());
            }
        }
    }

    /// What to tell the caller, as soon as that is clear.
    fn verdict<D: Disk>(&self, shared: &Shared<D>, lag: Lag) -> Option<io::Result<Vec<(u32, T)>>> {
        let copies = self.copies(shared);
        let complete = self.is_complete(shared);
        let shortage = lag.shortage(shared);
        let wanted = shared.rules.durable_volumes as usize;
        let may_lag = lag == Lag::Allowed && 0 < wanted && shared.may_leave();
        let enough = may_lag && wanted.min(shared.in_service().len()) <= copies;
        let early = enough && 0 < copies && shortage.is_none();
        if !complete && !early {
            return None;
        }
        self.stage.set(Stage::Resolved);
        if copies == 0 {
            let first = self.bad.take().into_iter().next();
            return Some(Err(first.map_or_else(nobody, |(_, error)| error)));
        }
        Some(shortage.map_or_else(|| Ok(self.good.take()), |few| Err(io::Error::other(few))))
    }
}

/// A call on its way, in its caller's hands.
struct Flight<D: Disk, T> {
    shared: Rc<Shared<D>>,
    call: Rc<Call<T>>,
    jobs: Vec<(u32, Option<Job>)>,
    number: u64,
    bytes: u64,
    lag: Lag,
}

impl<D: Disk, T> Flight<D, T> {
    /// Leaves to the Tender what is not done.
    fn leave(&mut self) {
        let left = self.jobs.drain(..);
        let left: Vec<_> = left
            .filter_map(|(volume, job)| Some((volume, job?)))
            .collect();
        if self.shared.untended.get() {
            // Nobody would drive them, and they hold the mirror, which would hold them.
            return;
        }
        for (volume, _) in &left {
            self.shared.let_lag(*volume, self.number, self.bytes);
        }
        if !left.is_empty() {
            let mut handed = self.shared.handed.borrow_mut();
            handed.extend(left.into_iter().map(|(_, job)| job));
        }
        self.shared.tender.ring();
    }
}

impl<D: Disk, T> Future for Flight<D, T> {
    type Output = io::Result<Vec<(u32, T)>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        for (_, job) in &mut this.jobs {
            if job
                .as_mut()
                .is_some_and(|job| job.as_mut().poll(context).is_ready())
            {
                *job = None;
            }
        }
        if let Some(verdict) = this.call.verdict(&this.shared, this.lag) {
            this.leave();
            return Poll::Ready(verdict);
        }
        // A member may be fenced by another call, and is not waited for then.
        this.shared.shifts.register(context.waker());
        Poll::Pending
    }
}

impl<D: Disk, T> Drop for Flight<D, T> {
    fn drop(&mut self) {
        if self.call.stage.get() == Stage::Awaited {
            self.call.stage.set(Stage::Abandoned);
            self.leave();
            self.call.judge(&self.shared);
        }
    }
}

/// Does the same on every member in service.
pub(super) async fn fan<D, T, F>(
    shared: &Rc<Shared<D>>,
    order: Order<D>,
    act: impl Fn(Target<D>) -> F,
) -> io::Result<Vec<(u32, T)>>
where
    D: Disk,
    T: 'static,
    F: Future<Output = io::Result<T>> + 'static,
{
    let number = shared.next_number();
    if let Some(alone) = shared.alone() {
        let target = shared.target(alone, order.handles.as_deref())?;
        let place = Place::take(shared, alone, number, order.touch);
        let value = act(target).await?;
        drop(place);
        let shortage = order.lag.shortage(shared);
        return shortage.map_or_else(
            || Ok(vec![(alone, value)]),
            |few| Err(io::Error::other(few)),
        );
    }
    let members = shared.in_service();
    let call = Rc::new(Call {
        members: members.clone(),
        good: RefCell::default(),
        bad: RefCell::default(),
        stage: Cell::new(Stage::Awaited),
    });
    let mut jobs = Vec::with_capacity(members.len());
    for volume in members {
        let target = shared.target(volume, order.handles.as_deref())?;
        let place = Place::take(shared, volume, number, order.touch.clone());
        let deed = act(target);
        jobs.push((volume, Some(job(place, call.clone(), deed))));
    }
    let flight = Flight {
        shared: shared.clone(),
        call,
        jobs,
        number,
        bytes: order.bytes,
        lag: order.lag,
    };
    flight.await
}

fn job<D: Disk, T: 'static>(
    place: Place<D>,
    call: Rc<Call<T>>,
    deed: impl Future<Output = io::Result<T>> + 'static,
) -> Job {
    Box::pin(async move {
        let (shared, volume) = (place.shared.clone(), place.volume);
        let may_begin = || shared.has_done(volume, place.behind);
        shared.progress.until(may_begin).await;
        if shared.is_in_service(volume) {
            let result = deed.await;
            call.note(&shared, volume, result);
        }
        drop(place);
    })
}
