//! Transactions: every call here waits for the cluster, for as long as it is told, and belongs on a thread of its own.

use super::{Client, Fault, sys, text_of};
use std::ffi::CString;

/// Why a step of a transaction was not taken, with librdkafka's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Setback {
    /// The same step may be taken again: nothing is decided.
    #[error("{0}")]
    Again(String),
    /// The transaction cannot be committed any more: abort it.
    #[error("{0}")]
    Abort(String),
    /// This producer can do no more; another one may.
    #[error("{0}")]
    Over(String),
}

impl Client {
    /// Ends what an earlier producer of this transactional id left open, and keeps it out from here on.
    pub(in crate::kafka) fn init_transactions(&self, wait_ms: i32) -> Result<(), Setback> {
        // SAFETY: the client lives; the error is given back below.
        unsafe { took(sys::rd_kafka_init_transactions(self.raw(), wait_ms)) }
    }

    pub(in crate::kafka) fn begin_transaction(&self) -> Result<(), Setback> {
        // SAFETY: as above.
        unsafe { took(sys::rd_kafka_begin_transaction(self.raw())) }
    }

    /// Everything that was sent must have been reported.
    pub(in crate::kafka) fn commit_transaction(&self, wait_ms: i32) -> Result<(), Setback> {
        // SAFETY: as above.
        unsafe { took(sys::rd_kafka_commit_transaction(self.raw(), wait_ms)) }
    }

    /// Everything that was sent must have been reported.
    pub(in crate::kafka) fn abort_transaction(&self, wait_ms: i32) -> Result<(), Setback> {
        // SAFETY: as above.
        unsafe { took(sys::rd_kafka_abort_transaction(self.raw(), wait_ms)) }
    }

    /// Gives up what has not been sent yet; what is under way to a broker is still reported by it.
    pub(in crate::kafka) fn purge_queue(&self) {
        // SAFETY: the client lives.
        unsafe { sys::rd_kafka_purge(self.raw(), sys::RD_KAFKA_PURGE_F_QUEUE) };
    }

    /// The first offset of a partition and the one that comes next, as the client's isolation level sees them.
    pub(in crate::kafka) fn watermarks(
        &self,
        topic: &str,
        partition: i32,
        wait_ms: i32,
    ) -> Result<(i64, i64), Fault> {
        let topic = CString::new(topic).map_err(|_| super::last_fault())?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: the client lives, the name ends in zero, and both numbers outlive the call.
        let error = unsafe {
            let (low, high) = (&raw mut low, &raw mut high);
            let topic = topic.as_ptr();
            sys::rd_kafka_query_watermark_offsets(self.raw(), topic, partition, low, high, wait_ms)
        };
        if super::is_fine(error) {
            Ok((low, high))
        } else {
            Err(Fault(error))
        }
    }
}

/// # Safety
/// `error` is null, or ours to give back.
unsafe fn took(error: *mut sys::rd_kafka_error_t) -> Result<(), Setback> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: it is not null, so it lives until it is given back here.
    unsafe {
        let text = text_of(sys::rd_kafka_error_string(error));
        let setback = if sys::rd_kafka_error_is_fatal(error) != 0 {
            Setback::Over(text)
        } else if sys::rd_kafka_error_txn_requires_abort(error) != 0 {
            Setback::Abort(text)
        } else if sys::rd_kafka_error_is_retriable(error) != 0 {
            Setback::Again(text)
        } else {
            Setback::Over(text)
        };
        sys::rd_kafka_error_destroy(error);
        Err(setback)
    }
}
