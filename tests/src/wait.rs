//! Looking again until something is so, with a bound.

use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(10);

/// Calls `look` until it gives a value, at most `seconds` long by the count of its pauses.
///
/// # Panics
/// When it never does; the message names `what`.
pub fn until<T>(what: &str, seconds: u32, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..seconds * 100 {
        if let Some(value) = look() {
            return value;
        }
        pause();
    }
    panic!("waited {seconds} seconds in vain for {what}");
}

/// Gives the others a moment.
#[expect(
    clippy::disallowed_methods,
    reason = "a test may look again later; it runs on no shard"
)]
pub fn pause() {
    std::thread::sleep(PAUSE);
}

/// Lets others work for so many milliseconds: to come at a random moment, never to be sure that
/// something has happened.
#[expect(
    clippy::disallowed_methods,
    reason = "a test may come at a moment of its choice; it runs on no shard"
)]
pub fn some_milliseconds(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
