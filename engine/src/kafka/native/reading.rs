//! Reading one partition, without a group.

use super::{Client, Fault, Topic, is_fine, last_fault, sys};
use std::ptr::NonNull;

/// A partition that is read from its beginning on.
pub(in crate::kafka) struct Reading {
    topic: Topic,
    partition: i32,
}

/// One thing that came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Read {
    Record {
        offset: i64,
        key: Vec<u8>,
        /// `None`: the key was removed.
        value: Option<Vec<u8>>,
    },
    /// There is nothing from this offset on that may be read now.
    End { next: i64 },
}

impl Reading {
    /// Begins to read. The client must be a consumer's.
    pub(in crate::kafka) fn start(
        client: &Client,
        topic: &str,
        partition: i32,
    ) -> Result<Self, Fault> {
        let topic = client.topic(topic)?;
        let begin = i64::from(sys::RD_KAFKA_OFFSET_BEGINNING);
        // SAFETY: the topic lives.
        let refused = unsafe { sys::rd_kafka_consume_start(topic.raw.as_ptr(), partition, begin) };
        if refused == 0 {
            Ok(Self { topic, partition })
        } else {
            Err(last_fault())
        }
    }

    /// What comes next; `None` when nothing came in `wait_ms`.
    pub(in crate::kafka) fn next(&self, wait_ms: i32) -> Result<Option<Read>, Fault> {
        // What the client itself has to say is not waited for by anybody.
        while self.topic.client.next().is_some() {}
        let topic = self.topic.raw.as_ptr();
        // SAFETY: the topic lives; the message is ours until it is destroyed below.
        let message = unsafe { sys::rd_kafka_consume(topic, self.partition, wait_ms) };
        let Some(message) = NonNull::new(message) else {
            return Ok(None);
        };
        // SAFETY: the message lives, and key and payload are null or as long as it says.
        unsafe {
            let seen = message.as_ref();
            let end = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF;
            let read = if seen.err == end {
                Ok(Some(Read::End { next: seen.offset }))
            } else if is_fine(seen.err) {
                Ok(Some(Read::Record {
                    offset: seen.offset,
                    key: bytes(seen.key, seen.key_len).unwrap_or_default(),
                    value: bytes(seen.payload, seen.len),
                }))
            } else {
                Err(Fault(seen.err))
            };
            sys::rd_kafka_message_destroy(message.as_ptr());
            read
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // SAFETY: the topic lives, and its partition is being read.
        unsafe { sys::rd_kafka_consume_stop(self.topic.raw.as_ptr(), self.partition) };
    }
}

/// # Safety
/// `at` is null or points to `length` bytes.
unsafe fn bytes(at: *const std::ffi::c_void, length: usize) -> Option<Vec<u8>> {
    let at = NonNull::new(at.cast_mut())?;
    // SAFETY: by this function's promise.
    let slice = unsafe { std::slice::from_raw_parts(at.as_ptr().cast::<u8>(), length) };
    Some(slice.to_vec())
}
