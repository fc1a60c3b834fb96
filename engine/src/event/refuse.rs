//! Why a request is refused.

use crate::limit::{REASON_BYTES_MAX, cut};

/// A request that cannot be accepted, as its client will read it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What is wrong, without any protocol's prefix. A sentence for people; bounded in length.
    pub reason: String,
    /// The `req_guid` that was read before the error; empty when none was (always for JSON).
    pub guid: String,
}

impl Refusal {
    /// Cuts a reason that repeats too much of what the client sent.
    pub(super) fn new(reason: &str, guid: &str) -> Self {
        Self {
            reason: cut(reason, REASON_BYTES_MAX).to_owned(),
            guid: guid.to_owned(),
        }
    }
}
