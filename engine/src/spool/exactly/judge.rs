//! What is done about events that came back. A transaction in which one did cannot be committed, so the same events
//! are sent again in another, without those that Kafka will never take.
//!
//! Always:  an event is given up only when it was alone under way and Kafka refused it, or when its topic was
//!          unwanted for too long. Nothing is given up because a broker is away.

use crate::kafka::Fault;
use crate::unit::{Micros, TopicIndex};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A topic that was given up is tried again not sooner than this.
const GONE_US_MIN: u64 = 10_000_000;

/// Where an event stands in what one transaction brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub parcel: u32,
    /// The batch in its frame, and the record in the batch.
    pub batch: u32,
    pub record: u32,
}

/// What a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The event, or one that was sent together with it.
    Event,
    Topic,
    /// Nothing that lasts.
    Moment,
}

impl Blame {
    pub fn of(fault: Fault) -> Self {
        if fault.is_of_the_record() {
            Self::Event
        } else if fault.is_of_the_topic() {
            Self::Topic
        } else {
            Self::Moment
        }
    }
}

/// A topic that Kafka does not want anything of.
#[derive(Clone, Copy, Debug)]
struct Unwanted {
    since: Micros,
    /// Its events are dead letters, without being sent, until then.
    gone_until: Option<Micros>,
    why: &'static str,
}

/// What is known of the events at hand, and of topics.
#[derive(Debug, Default)]
pub struct Judge {
    topic_wait_us: u64,
    unwanted: HashMap<TopicIndex, Unwanted>,
    /// Topics of which one of several events was refused: theirs are sent one by one.
    careful: BTreeSet<TopicIndex>,
    /// Those of them that were not gone through yet.
    to_probe: BTreeSet<TopicIndex>,
    dead: BTreeMap<At, &'static str>,
}

impl Judge {
    pub fn new(topic_wait_us: u64) -> Self {
        Self {
            topic_wait_us,
            ..Self::default()
        }
    }

    /// Other events are at hand.
    pub fn forget_events(&mut self) {
        self.careful.clear();
        self.to_probe.clear();
        self.dead.clear();
    }

    /// Why an event is not to be sent, but to become a dead letter.
    pub fn why_dead(&self, at: At, topic: TopicIndex, now: Micros) -> Option<&'static str> {
        let gone = || {
            let unwanted = self.unwanted.get(&topic)?;
            let gone = unwanted.gone_until.is_some_and(|until| now < until);
            gone.then_some(unwanted.why)
        };
        self.dead.get(&at).copied().or_else(gone)
    }

    /// Whether nothing is known of a topic by which any of its events would not go with the others.
    pub fn is_plain(&self, topic: TopicIndex, now: Micros) -> bool {
        let unwanted = self.unwanted.get(&topic);
        let gone = unwanted.and_then(|unwanted| unwanted.gone_until);
        !self.is_careful(topic) && gone.is_none_or(|until| until <= now)
    }

    /// Whether events of a topic are to be sent one by one.
    pub fn is_careful(&self, topic: TopicIndex) -> bool {
        self.careful.contains(&topic)
    }

    /// Topics whose events are to be tried one by one before anything is sent again.
    pub fn take_to_probe(&mut self) -> BTreeSet<TopicIndex> {
        std::mem::take(&mut self.to_probe)
    }

    /// An event was delivered, though perhaps not committed.
    pub fn delivered(&mut self, topic: TopicIndex) {
        if !self.unwanted.is_empty() {
            self.unwanted.remove(&topic);
        }
    }

    /// An operator says that Kafka may want a topic by now: it has its time once more.
    pub fn renew(&mut self, topic: TopicIndex) {
        self.unwanted.remove(&topic);
    }

    /// An event came back; `alone` when nothing else of its topic was under way. Whether it is known now why: then
    /// [`Judge::why_dead`] says it.
    pub fn refused(
        &mut self,
        (at, topic): (At, TopicIndex),
        (blame, why): (Blame, &'static str),
        alone: bool,
        now: Micros,
    ) -> bool {
        match blame {
            Blame::Event if alone => {
                self.dead.insert(at, why);
                true
            }
            Blame::Event => {
                if self.careful.insert(topic) {
                    self.to_probe.insert(topic);
                }
                false
            }
            Blame::Topic => self.topic_refused(topic, why, now),
            Blame::Moment => false,
        }
    }

    fn topic_refused(&mut self, topic: TopicIndex, why: &'static str, now: Micros) -> bool {
        let unwanted = self.unwanted.entry(topic).or_insert(Unwanted {
            since: now,
            gone_until: None,
            why,
        });
        unwanted.why = why;
        let too_long = self.topic_wait_us <= now.since(unwanted.since);
        if too_long || unwanted.gone_until.is_some() {
            let rest = self.topic_wait_us.max(GONE_US_MIN);
            unwanted.gone_until = Some(Micros(now.0 + rest));
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TopicIndex = TopicIndex(1);
    const OTHER: TopicIndex = TopicIndex(2);
    const WAIT_US: u64 = 30_000_000;

    fn at(record: u32) -> At {
        At {
            parcel: 0,
            batch: 0,
            record,
        }
    }

    #[test]
    fn one_of_several_is_looked_for_and_only_one_that_was_alone_is_given_up() {
        let (mut judge, now) = (Judge::new(WAIT_US), Micros(1));
        let large = (Blame::Event, "too large");
        for record in 0..3 {
            assert!(!judge.refused((at(record), ONE), large, false, now));
            assert_eq!(judge.why_dead(at(record), ONE, now), None);
        }
        assert!(judge.is_careful(ONE) && !judge.is_careful(OTHER));
        assert!(!judge.is_plain(ONE, now) && judge.is_plain(OTHER, now));
        assert!(judge.take_to_probe().into_iter().eq([ONE]));
        // It is gone through once.
        assert!(!judge.refused((at(1), ONE), large, false, now));
        assert!(judge.take_to_probe().is_empty());
        assert!(judge.refused((at(1), ONE), large, true, now));
        assert_eq!(judge.why_dead(at(1), ONE, now), Some("too large"));
        assert_eq!(judge.why_dead(at(0), ONE, now), None);
        judge.forget_events();
        assert_eq!(judge.why_dead(at(1), ONE, now), None);
        assert!(!judge.is_careful(ONE));
    }

    #[test]
    fn a_topic_is_given_up_after_its_time_and_tried_again_later() {
        let mut judge = Judge::new(WAIT_US);
        let unknown = (Blame::Topic, "unknown topic");
        let begun = Micros(7);
        assert!(!judge.refused((at(0), ONE), unknown, true, begun));
        let short = Micros(begun.0 + WAIT_US - 1);
        assert!(!judge.refused((at(0), ONE), unknown, true, short));
        assert_eq!(judge.why_dead(at(0), ONE, short), None);
        let long = Micros(begun.0 + WAIT_US);
        assert!(judge.refused((at(0), ONE), unknown, true, long));
        // All of it, also what comes later, and nothing of others.
        judge.forget_events();
        assert_eq!(judge.why_dead(at(5), ONE, long), Some("unknown topic"));
        assert_eq!(judge.why_dead(at(5), OTHER, long), None);
        let later = Micros(long.0 + WAIT_US);
        assert_eq!(judge.why_dead(at(5), ONE, later), None);
        assert!(!judge.is_plain(ONE, long) && judge.is_plain(ONE, later));
        // Still unwanted: at once this time.
        assert!(judge.refused((at(5), ONE), unknown, true, later));
        assert_eq!(judge.why_dead(at(6), ONE, later), Some("unknown topic"));
        judge.delivered(ONE);
        assert_eq!(judge.why_dead(at(6), ONE, later), None);
        assert!(!judge.refused((at(6), ONE), unknown, true, later));
        // So does an operator's word.
        let long = Micros(later.0 + WAIT_US);
        assert!(judge.refused((at(6), ONE), unknown, true, long));
        judge.renew(ONE);
        assert_eq!(judge.why_dead(at(6), ONE, long), None);
        assert!(!judge.refused((at(6), ONE), unknown, true, long));
    }

    #[test]
    fn a_broker_that_is_away_costs_no_event() {
        let mut judge = Judge::new(0);
        for second in 0..10_000 {
            let now = Micros(second * 1_000_000);
            let moment = (Blame::Moment, "timed out");
            assert!(!judge.refused((at(0), ONE), moment, true, now));
            assert_eq!(judge.why_dead(at(0), ONE, now), None);
        }
        assert!(judge.take_to_probe().is_empty());
    }
}
