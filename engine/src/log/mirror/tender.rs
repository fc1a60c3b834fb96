//! What nobody waits for any more is still done.

use super::super::disk::Disk;
use super::Shared;
use futures_util::StreamExt as _;
use futures_util::future::{self, Either};
use futures_util::stream::FuturesUnordered;
use std::pin::pin;
use std::rc::Rc;

/// Drives the jobs of members that lag. There is one for each mirror.
pub struct Tender<D: Disk> {
    shared: Rc<Shared<D>>,
}

impl<D: Disk> Tender<D> {
    pub(super) fn new(shared: Rc<Shared<D>>) -> Self {
        Self { shared }
    }

    /// Works until the mirror and its clones are gone and everything is done.
    pub async fn run(self) {
        let shared = &self.shared;
        shared.tending.set(true);
        let mut jobs = FuturesUnordered::new();
        loop {
            jobs.extend(shared.handed.take());
            if jobs.is_empty() && shared.mirrors.get() == 0 {
                return;
            }
            let ring = pin!(shared.tender.wait());
            if jobs.is_empty() {
                ring.await;
            } else if let Either::Right((None, _)) = future::select(ring, jobs.next()).await {
                unreachable!("there are jobs");
            }
        }
    }
}

impl<D: Disk> Drop for Tender<D> {
    fn drop(&mut self) {
        self.shared.tending.set(false);
        self.shared.untended.set(true);
        // They hold the mirror, which holds them.
        let left = self.shared.handed.take();
        drop(left);
    }
}
