//! Event types become topics.

pub mod policy;
pub mod table;

pub use policy::Pattern;
pub use table::{Table, Topic};

/// What routing needs from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From `EVENT_DISTRIBUTION_PUBLISHER_PATTERN`.
    pub pattern: Pattern,
    /// Topics that may come into being because a client names them.
    pub client_topics_max: usize,
}
