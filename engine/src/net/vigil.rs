//! What one WebSocket must do by when: pongs, whole messages, answers taken.
//!
//! Always:  pongs and messages are only waited for while the connection is read: whoever was not read
//!          for want of room is not cut off for what could not be heard.
//! Core:    one connection's; the shard's list of moments (`lines`) wakes it.
//! Full:    six numbers for each connection, and no timer.

use super::{Cut, Settings};
use crate::rt::timer::Moment;

/// The deadlines of one connection.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says one thing that no other does, and any of them may hold together"
)]
#[derive(Debug)]
pub(super) struct Vigil {
    /// When the next ping leaves.
    ping: Moment,
    /// When the last pong is too long ago.
    pong: Moment,
    /// When a holder whose name is contested counts as dead.
    proof: Moment,
    /// When the message that has begun must be whole.
    message: Moment,
    /// When the client must have taken what waited for it, and how many bytes it will have taken then.
    write: Moment,
    write_mark: u64,
    awaits_pong: bool,
    /// The answer to a client's ping waits for the kernel to take it.
    owes_pong: bool,
    /// Something came since a proof is waited for. It may have been on its way for long.
    was_heard: bool,
    /// It was overdue while there was more to read, and got some more time, once.
    had_grace: bool,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ping,
    Cut(Cut),
    /// It was heard, or could not be, and is still there: it is taken to be alive.
    Proven,
}

/// Whether the connection is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Everything that came was read.
    Done,
    /// There is more, and a pong may be in it.
    Behind,
    /// It is not read for want of room.
    Paused,
}

impl Vigil {
    pub(super) fn begin(now: Moment, settings: &Settings) -> Self {
        Self {
            ping: now.after(settings.ping_interval),
            pong: now.after(settings.pong_wait),
            ..Self::of_writing()
        }
    }

    /// Waits for nothing but that the client takes what it is sent.
    pub(super) fn of_writing() -> Self {
        Self {
            ping: Moment::NEVER,
            pong: Moment::NEVER,
            proof: Moment::NEVER,
            message: Moment::NEVER,
            write: Moment::NEVER,
            write_mark: 0,
            awaits_pong: false,
            owes_pong: false,
            was_heard: false,
            had_grace: false,
        }
    }

    /// The next moment at which something may be due.
    pub(super) fn next(&self) -> Moment {
        let others = [self.pong, self.proof, self.message, self.write];
        others.into_iter().fold(self.ping, Moment::min)
    }

    /// What is due first; to be asked again until there is nothing.
    pub(super) fn due(
        &mut self,
        now: Moment,
        reading: Reading,
        settings: &Settings,
    ) -> Option<Due> {
        if self.write <= now {
            return Some(Due::Cut(Cut::SlowReader));
        }
        if reading == Reading::Paused {
            self.suspend(now, settings);
        }
        if self.proof <= now {
            if reading == Reading::Paused || self.was_heard {
                self.proof = Moment::NEVER;
                return Some(Due::Proven);
            }
            return Some(Due::Cut(Cut::Superseded));
        }
        let overdue = [(self.message, Cut::SlowMessage), (self.pong, Cut::NoPong)];
        if let Some((_, cut)) = overdue.into_iter().find(|(due, _)| *due <= now) {
            if reading == Reading::Done || self.had_grace {
                return Some(Due::Cut(cut));
            }
            self.had_grace = true;
            self.extend(now.after(settings.write_wait));
        }
        if self.ping <= now {
            self.ping = now.after(settings.ping_interval);
            self.awaits_pong = true;
            return Some(Due::Ping);
        }
        None
    }

    /// Reading goes on after a pause: what was not heard meanwhile is no fault of the client's.
    pub(super) fn resume(&mut self, now: Moment, settings: &Settings) {
        self.pong = now.after(settings.pong_wait);
        if self.message != Moment::NEVER {
            self.message = now.after(settings.message_wait);
        }
    }

    /// Says whether a proof was waited for.
    pub(super) fn pong(&mut self, now: Moment, settings: &Settings) -> bool {
        self.pong = now.after(settings.pong_wait);
        self.awaits_pong = false;
        self.had_grace = false;
        let was_asked = self.proof != Moment::NEVER;
        self.proof = Moment::NEVER;
        was_asked
    }

    /// Something came that is no pong. Who sent it may be gone since, and its end come right behind, so it counts
    /// when the time for a proof is over.
    pub(super) fn heard(&mut self) {
        self.was_heard = true;
    }

    /// Waits for a proof that the client lives; a ping is to be sent. Not twice at once.
    pub(super) fn want_proof(&mut self, now: Moment, settings: &Settings) {
        if self.proof == Moment::NEVER {
            self.was_heard = false;
        }
        self.proof = self.proof.min(now.after(settings.proof_wait));
        self.awaits_pong = true;
    }

    pub(super) fn message_begins(&mut self, now: Moment, settings: &Settings) {
        self.message = now.after(settings.message_wait);
    }

    pub(super) fn message_ends(&mut self) {
        self.message = Moment::NEVER;
        self.had_grace = false;
    }

    pub(super) fn has_message(&self) -> bool {
        self.message != Moment::NEVER
    }

    pub(super) fn all_is_taken(&mut self) {
        self.write = Moment::NEVER;
        self.owes_pong = false;
    }

    /// A ping was answered; the answer is yet to leave.
    pub(super) fn owe_pong(&mut self) {
        self.owes_pong = true;
    }

    pub(super) fn owes_pong(&self) -> bool {
        self.owes_pong
    }

    /// Whether a time for the client to take what waits is to be set: it has none, or has kept the last.
    pub(super) fn may_set_mark(&self, taken: u64) -> bool {
        self.write == Moment::NEVER || self.write_mark <= taken
    }

    /// The client has until then to take so many bytes, counted from the first.
    pub(super) fn set_mark(&mut self, now: Moment, bytes: u64, settings: &Settings) {
        self.write = now.after(settings.write_wait);
        self.write_mark = bytes;
    }

    /// The client is not read any more, and need only take what it is sent.
    pub(super) fn only_writing(&mut self) {
        *self = Self {
            write: self.write,
            write_mark: self.write_mark,
            owes_pong: self.owes_pong,
            ..Self::of_writing()
        };
    }

    pub(super) fn awaits_pong(&self) -> bool {
        self.awaits_pong
    }

    fn suspend(&mut self, now: Moment, settings: &Settings) {
        if self.pong <= now {
            self.pong = now.after(settings.pong_wait);
        }
        if self.message <= now {
            self.message = now.after(settings.message_wait);
        }
    }

    fn extend(&mut self, until: Moment) {
        for due in [&mut self.pong, &mut self.message] {
            if *due != Moment::NEVER {
                *due = until.max(*due);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use std::time::Duration;

    /// Pings after 10, pongs within 25, messages within 40, writes within 5, proofs within 3 (in ms).
    fn rules() -> Settings {
        let ms = Duration::from_millis;
        Settings {
            ping_interval: ms(10),
            pong_wait: ms(25),
            message_wait: ms(40),
            write_wait: ms(5),
            proof_wait: ms(3),
            ..settings()
        }
    }

    const START: Moment = Moment::from_millis(1_000);

    fn at(ms: u64) -> Moment {
        START.after(Duration::from_millis(ms))
    }

    #[test]
    fn pings_leave_at_their_interval_and_only_pongs_put_the_end_off() {
        let rules = rules();
        let mut vigil = Vigil::begin(START, &rules);
        assert_eq!(vigil.next(), at(10));
        assert_eq!(vigil.due(at(10), Reading::Done, &rules), Some(Due::Ping));
        assert_eq!(vigil.due(at(10), Reading::Done, &rules), None);
        assert!(!vigil.pong(at(12), &rules));
        assert_eq!(vigil.due(at(20), Reading::Done, &rules), Some(Due::Ping));
        assert_eq!(vigil.due(at(36), Reading::Done, &rules), Some(Due::Ping));
        let cut = Some(Due::Cut(Cut::NoPong));
        assert_eq!(vigil.due(at(37), Reading::Done, &rules), cut);
    }

    #[test]
    fn who_is_not_read_is_not_cut_for_a_missing_pong_or_half_a_message() {
        let rules = rules();
        let mut vigil = Vigil::begin(START, &rules);
        vigil.message_begins(START, &rules);
        for ms in (40..4_000).step_by(10) {
            let due = vigil.due(at(ms), Reading::Paused, &rules);
            assert!(matches!(due, None | Some(Due::Ping)), "{due:?} at {ms}");
        }
        vigil.resume(at(4_000), &rules);
        while let Some(due) = vigil.due(at(4_024), Reading::Done, &rules) {
            assert_eq!(due, Due::Ping);
        }
        let cut = Some(Due::Cut(Cut::NoPong));
        assert_eq!(vigil.due(at(4_025), Reading::Done, &rules), cut);
    }

    #[test]
    fn a_pong_that_may_lie_behind_other_bytes_has_a_little_longer_once() {
        let rules = rules();
        let mut vigil = Vigil::begin(START, &rules);
        assert_eq!(vigil.due(at(25), Reading::Behind, &rules), Some(Due::Ping));
        assert_eq!(vigil.due(at(25), Reading::Behind, &rules), None);
        let cut = Some(Due::Cut(Cut::NoPong));
        assert_eq!(vigil.due(at(30), Reading::Behind, &rules), cut);
    }

    #[test]
    fn a_message_must_be_whole_in_time_whatever_else_comes() {
        let rules = rules();
        let mut vigil = Vigil::begin(START, &rules);
        vigil.message_begins(at(1), &rules);
        vigil.pong(at(40), &rules);
        while let Some(due) = vigil.due(at(40), Reading::Done, &rules) {
            assert_eq!(due, Due::Ping);
        }
        let cut = Some(Due::Cut(Cut::SlowMessage));
        assert_eq!(vigil.due(at(41), Reading::Done, &rules), cut);
        vigil.message_ends();
        assert_eq!(vigil.due(at(41), Reading::Done, &rules), None);
    }

    #[test]
    fn a_reader_that_takes_a_little_now_and_then_is_cut_all_the_same() {
        let rules = rules();
        let mut vigil = Vigil::of_writing();
        assert!(vigil.may_set_mark(0));
        vigil.set_mark(START, 100, &rules);
        assert!(!vigil.may_set_mark(99));
        assert!(vigil.may_set_mark(100));
        vigil.set_mark(at(4), 200, &rules);
        assert_eq!(vigil.due(at(8), Reading::Paused, &rules), None);
        let cut = Some(Due::Cut(Cut::SlowReader));
        assert_eq!(vigil.due(at(9), Reading::Paused, &rules), cut);
        vigil.all_is_taken();
        assert_eq!(vigil.next(), Moment::NEVER);
    }

    #[test]
    fn a_holder_that_is_asked_for_a_proof_gives_it_or_goes() {
        let rules = rules();
        let mut vigil = Vigil::begin(START, &rules);
        vigil.want_proof(START, &rules);
        vigil.want_proof(at(2), &rules);
        assert_eq!(vigil.next(), at(3));
        let cut = Some(Due::Cut(Cut::Superseded));
        assert_eq!(vigil.due(at(3), Reading::Done, &rules), cut);
        assert_eq!(vigil.due(at(3), Reading::Paused, &rules), Some(Due::Proven));
        vigil.want_proof(at(4), &rules);
        assert!(vigil.pong(at(5), &rules));
        assert!(!vigil.pong(at(5), &rules));
    }

    #[test]
    fn what_was_under_way_is_a_proof_when_the_time_is_over_and_not_before() {
        let rules = rules();
        let mut vigil = Vigil::begin(START, &rules);
        vigil.heard();
        vigil.want_proof(START, &rules);
        let cut = Some(Due::Cut(Cut::Superseded));
        assert_eq!(vigil.due(at(3), Reading::Done, &rules), cut);
        let mut vigil = Vigil::begin(START, &rules);
        vigil.want_proof(START, &rules);
        vigil.heard();
        assert_eq!(vigil.due(at(2), Reading::Done, &rules), None);
        assert_eq!(vigil.due(at(3), Reading::Done, &rules), Some(Due::Proven));
    }
}
