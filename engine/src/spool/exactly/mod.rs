//! Forwarding in transactions: each brings the events of some frames and, with them, how far the journal came.
//!
//! | file     | is                                                                        |
//! |----------|---------------------------------------------------------------------------|
//! | `cursor` | how far a journal came, as a record of Kafka                              |
//! | `judge`  | what is done about events that came back                                  |
//!
//! Always:  a cursor is committed with the events that it has passed, or not at all; a dead letter is durable in
//!          the log before a cursor that has passed its event is committed.

pub mod cursor;
pub mod judge;

use std::time::Duration;

/// What a forwarder of transactions needs from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kafka's topic of cursors.
    pub cursors: Box<str>,
    /// A transaction is closed when it has this many events, or this many bytes of frames, or is this old.
    pub events_max: u64,
    pub bytes_max: u64,
    pub wait: Duration,
}

/// The first pause after something failed; each further one is twice as long, up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// How long to wait after so many failures in a row.
pub fn pause(failures: u32) -> Duration {
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
    PAUSE_FIRST.saturating_mul(doubled).min(PAUSE_LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pauses: Vec<_> = [1, 2, 3, 7, 40, u32::MAX].map(pause).to_vec();
        let wanted = [100, 200, 400, 5_000, 5_000, 5_000].map(Duration::from_millis);
        assert_eq!(pauses, wanted);
    }
}
