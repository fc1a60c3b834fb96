//! Who leads what, and which number the producer has: one question at a time, to any broker that answers.

use super::link::{AGAIN, Ended, Wire};
use super::topic::Topic;
use super::wire::{self, LEADER_NOT_AVAILABLE, Seen};
use super::{Broker, Direct};
use crate::kafka::native::Fault;
use crate::rt::timer::{Moment, sleep};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Kafka's error code for what it does not have.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

impl Direct {
    /// Asks whenever something is to be known, for as long as it is polled and brokers understand it.
    pub(super) async fn scout(&self) {
        let mut wire = None;
        let mut turn = 0;
        loop {
            let question = self.question.wait();
            if !self.has_question() {
                question.await;
                continue;
            }
            drop(question);
            let asked = match &mut wire {
                Some(wire) => self.ask(wire).await,
                none => match self.reach(turn).await {
                    Ok(reached) => self.ask(none.insert(reached)).await,
                    Err(ended) => Err(ended),
                },
            };
            match asked {
                Ok(true) => self.is_well(),
                // Not all is as it should be yet.
                Ok(false) => sleep(AGAIN).await,
                Err(ended) => {
                    wire = None;
                    let (host, port) = self.address(turn);
                    self.say(&format!("{host}:{port}: {ended}"));
                    if matches!(ended, Ended::Foreign) {
                        self.retire();
                        return;
                    }
                    turn += 1;
                    sleep(AGAIN).await;
                }
            }
        }
    }

    fn has_question(&self) -> bool {
        let state = self.state.borrow();
        state.reasons_met < state.reasons || (state.producer.is_none() && !state.topics.is_empty())
    }

    /// Known brokers and those that were named at the start, in turn.
    fn address(&self, turn: usize) -> (Box<str>, u16) {
        let state = self.state.borrow();
        let count = self.bootstrap.len() + state.brokers.len();
        let at = turn % count.max(1);
        if let Some(named) = self.bootstrap.get(at) {
            return named.clone();
        }
        let known = state.brokers.values().nth(at - self.bootstrap.len());
        let known = known.expect("it is below their number");
        (known.host.clone(), known.port)
    }

    async fn reach(&self, turn: usize) -> Result<Wire, Ended> {
        let (host, port) = self.address(turn);
        Wire::open(&host, port).await
    }

    /// What is to be asked, and how many reasons there are for it so far.
    fn question(&self) -> (u64, Vec<Arc<str>>) {
        let state = self.state.borrow();
        (state.reasons, state.topics.keys().cloned().collect())
    }

    /// `false` when it is to be asked once more, a little later.
    async fn ask(&self, wire: &mut Wire) -> Result<bool, Ended> {
        let (reasons, names) = self.question();
        let names = || names.iter().map(|name| &**name);
        let answer = wire.ask(|out, number| wire::metadata(out, number, names()));
        let seen = wire::read_metadata(answer.await?)?;
        let all_led = self.take_seen(seen);
        if all_led {
            // What was noticed meanwhile is another question.
            self.state.borrow_mut().reasons_met = reasons;
        }
        self.give_back();
        let numbered = self.number(wire).await?;
        self.work.wake_all();
        Ok(all_led && numbered)
    }

    fn take_seen(&self, seen: Seen) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        take_seen(seen, &mut state.brokers, &mut state.topics)
    }

    /// Has the producer numbered, if it is not; `false` when that has to wait for what is under way.
    async fn number(&self, wire: &mut Wire) -> Result<bool, Ended> {
        {
            let state = self.state.borrow();
            if state.producer.is_some() {
                return Ok(true);
            }
            if !state.is_still() {
                return Ok(false);
            }
        }
        let answer = wire.ask(wire::init_producer_id).await?;
        match wire::read_producer_id(answer)? {
            Ok(producer) => {
                let mut state = self.state.borrow_mut();
                for topic in state.topics.values_mut() {
                    topic.renumber();
                }
                state.producer = Some(producer);
                Ok(true)
            }
            Err(code) => {
                let why = Fault::of_broker(code).text();
                self.say(&format!("no number for a producer: {why}"));
                Ok(false)
            }
        }
    }
}

/// Takes what the cluster says; `false` when something that is needed is led by nobody.
pub(super) fn take_seen(
    seen: Seen,
    brokers: &mut BTreeMap<i32, Broker>,
    topics: &mut HashMap<Arc<str>, Topic>,
) -> bool {
    *brokers = seen
        .brokers
        .into_iter()
        .map(|broker| (broker.id, broker))
        .collect();
    let (now, mut all_led) = (Moment::now(), true);
    for one in seen.topics {
        let Some(topic) = topics.get_mut(&*one.name) else {
            continue;
        };
        let led = one.partitions.iter().all(|(_, leader)| 0 <= *leader);
        match one.code {
            0 if topic.see(&one.partitions) => all_led &= led,
            0 => topic.recall(Fault::of_broker(UNKNOWN_TOPIC_OR_PARTITION)),
            UNKNOWN_TOPIC_OR_PARTITION => {
                all_led &= topic.miss(now, Fault::of_broker(one.code));
            }
            LEADER_NOT_AVAILABLE => all_led = false,
            code => topic.recall(Fault::of_broker(code)),
        }
    }
    all_led
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;
    use crate::unit::TopicIndex;

    #[test]
    fn a_topic_that_comes_while_others_are_asked_for_is_asked_for_next() {
        let direct = Direct::new(Vec::new());
        let send = |name: &str| {
            let mark = Mark {
                topic: TopicIndex(0),
                part: 0,
                parts: 1,
                records: 1,
                sequence: 1,
            };
            direct.send(&name.into(), mark, &[0; 100]);
        };
        direct.state.borrow_mut().producer = Some((1, 0));
        assert!(!direct.has_question());
        send("one");
        let (reasons, names) = direct.question();
        assert_eq!(names, ["one".into()]);
        send("two");
        direct.state.borrow_mut().reasons_met = reasons;
        assert!(direct.has_question());
        let (reasons, names) = direct.question();
        assert_eq!(names.len(), 2);
        direct.state.borrow_mut().reasons_met = reasons;
        assert!(!direct.has_question());
        direct.ask_again();
        assert!(direct.has_question());
    }
}
