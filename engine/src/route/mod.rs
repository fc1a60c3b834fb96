//! Event types become topics.

pub mod policy;
pub mod table;

pub use policy::Pattern;
pub use table::{Table, Topic};

use std::sync::Arc;

/// Names of topics.
pub type Reserved = Arc<[Box<str>]>;

/// What routing needs from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From `EVENT_DISTRIBUTION_PUBLISHER_PATTERN`.
    pub pattern: Pattern,
    /// Topics that may come into being because a client names them.
    pub client_topics_max: usize,
    /// Topics that are not for events of clients, whatever their types make of the pattern.
    pub reserved: Reserved,
}
