//! Who leads what, and batches on their way there.

use super::super::link::{
    AGAIN, ANSWER_WAIT, Ended, Sender, Sent, UNDER_WAY_MAX, Verdict, request, verdict,
};
use super::super::scout::take_seen;
use super::super::wire::{self, Garbled, Reading};
use super::link::{Link, wait};
use super::{Producer, REQUEST_TIMED_OUT};
use crate::kafka::native::{Fault, Setback};
use crate::rt::timer::Moment;
use std::sync::Arc;
use std::time::Duration;

/// Nothing is waited for longer than this at a time.
const STEP: Duration = Duration::from_millis(50);

impl Producer {
    /// Does what there is to do, and waits so long for more.
    pub(super) fn go_on(&mut self, time: Duration) {
        let now = Moment::now();
        if self.over.is_none() && !self.is_purged && 0 < self.outstanding {
            if self.until <= now {
                self.recall_all(REQUEST_TIMED_OUT);
            }
            if self.asks && self.ask_at <= now {
                self.ask_cluster();
            }
            self.join();
            self.connect();
            self.send_due();
        }
        self.flush();
        if self.told.is_empty() {
            self.wait(time);
        }
        self.take_answers();
        self.give_back();
    }

    fn wait(&self, time: Duration) {
        let (now, mut time) = (Moment::now(), time.min(STEP));
        if now < self.add_at {
            time = time.min(self.add_at.since(now));
        }
        let mut fds: Vec<_> = self.leaders.values().map(Link::poll_fd).collect();
        // What is wrong with a connection is found when it is used.
        let _cut_short = wait(&mut fds, time);
    }

    /// Asks any broker that answers.
    pub(super) fn ask_anybody<T>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, i32),
        read: impl FnOnce(Reading<'_>) -> Result<T, Garbled>,
    ) -> Result<T, Setback> {
        let asked = self.scout().and_then(|mut link| {
            let read = read(link.ask(write)?)?;
            Ok((link, read))
        });
        match asked {
            Ok((link, read)) => {
                self.scout = Some(link);
                Ok(read)
            }
            Err(ended) => {
                self.turn += 1;
                Err(self.after_end(&ended))
            }
        }
    }

    fn scout(&mut self) -> Result<Link, Ended> {
        if let Some(link) = self.scout.take() {
            return Ok(link);
        }
        // Known brokers and those that were named at the start, in turn.
        let named = self.bootstrap.iter().map(|(host, port)| (&**host, *port));
        let known = self.brokers.values();
        let mut all = named.chain(known.map(|broker| (&*broker.host, broker.port)));
        let count = self.bootstrap.len() + self.brokers.len();
        let next = all.nth(self.turn % count.max(1));
        let (host, port) = next.expect("at least one broker was named");
        Link::open(host, port)
    }

    fn ask_cluster(&mut self) {
        let names: Vec<Arc<str>> = self.topics.keys().cloned().collect();
        let names = || names.iter().map(|name| &**name);
        let answer = self.ask_anybody(
            |out, number| wire::metadata(out, number, names()),
            wire::read_metadata,
        );
        let all_led = match answer {
            Ok(seen) => take_seen(seen, &mut self.brokers, &mut self.topics),
            Err(_) => false,
        };
        self.asks = !all_led;
        self.ask_at = Moment::now().after(AGAIN);
        self.give_back();
    }

    /// Opens a connection to whoever is to have something and has none.
    fn connect(&mut self) {
        let now = Moment::now();
        let missing = self.brokers.values().find(|broker| {
            let wanted = self.topics.values().any(|topic| topic.wants(broker.id));
            let due = self
                .not_before
                .get(&broker.id)
                .is_none_or(|due| *due <= now);
            wanted && due && !self.leaders.contains_key(&broker.id)
        });
        let Some(broker) = missing.cloned() else {
            return;
        };
        match Link::open(&broker.host, broker.port) {
            Ok(link) => {
                self.leaders.insert(broker.id, link);
            }
            Err(ended) => {
                self.after_end(&ended);
                self.lost(broker.id);
            }
        }
    }

    /// Nothing that this connection has under way will be answered.
    fn lost(&mut self, broker: i32) {
        self.leaders.remove(&broker);
        let again = Moment::now().after(AGAIN);
        self.not_before.insert(broker, again);
        for topic in self.topics.values_mut() {
            topic.lost(broker);
        }
        self.asks = true;
    }

    fn send_due(&mut self) {
        let Some(producer) = self.number else {
            return;
        };
        let (now, added) = (Moment::now(), &self.added);
        let sender = Sender {
            producer,
            transaction: Some(&self.id),
        };
        let may = |name: &Arc<str>, partition| added.contains(&(Arc::clone(name), partition));
        for (broker, link) in &mut self.leaders {
            while link.under_way.len() < UNDER_WAY_MAX {
                let number = link.next_number();
                let at = (*broker, number);
                let Some(request) = request(&mut self.topics, sender, at, now, may) else {
                    break;
                };
                link.send(number, request, now.after(ANSWER_WAIT));
            }
        }
    }

    fn flush(&mut self) {
        let links = self.leaders.iter_mut();
        let failed: Vec<i32> = links
            .filter_map(|(broker, link)| link.flush().is_err().then_some(*broker))
            .collect();
        for broker in failed {
            self.lost(broker);
        }
    }

    fn take_answers(&mut self) {
        let brokers: Vec<i32> = self.leaders.keys().copied().collect();
        for broker in brokers {
            let taken = self.take_answers_of(broker);
            if taken.is_err() {
                self.lost(broker);
            }
        }
    }

    fn take_answers_of(&mut self, broker: i32) -> Result<(), Ended> {
        loop {
            let Some(link) = self.leaders.get_mut(&broker) else {
                return Ok(());
            };
            let oldest = link.under_way.front();
            let is_late = oldest.is_some_and(|oldest| oldest.until <= Moment::now());
            let Some((under_way, reading)) = link.take()? else {
                return if is_late { Err(Ended::TooLate) } else { Ok(()) };
            };
            let mut codes = Vec::new();
            wire::read_produced(reading, |name, partition, code| {
                codes.push((Arc::<str>::from(name), partition, code));
            })?;
            for sent in &under_way.sent {
                let found = codes.iter().find(|(name, partition, _)| {
                    **name == *sent.topic && *partition == sent.partition
                });
                let (_, _, code) = found.ok_or(Garbled)?;
                self.take_code(sent, *code);
            }
        }
    }

    /// What the broker says of one batch.
    fn take_code(&mut self, sent: &Sent, code: i16) {
        let Some(topic) = self.topics.get_mut(&sent.topic) else {
            return;
        };
        let Some(queue) = topic.queue(sent.partition) else {
            return;
        };
        let verdict = verdict(code);
        if verdict == Verdict::Delivered {
            if let Some(mark) = queue.delivered(sent.lot) {
                self.delivered(mark);
            }
            return;
        }
        if !queue.came_back(sent.lot) {
            return;
        }
        match code {
            // Fenced, in both words; a state or a number that is not what the coordinator has.
            47 | 48 | 49 | 53 | 90 => self.end_for(Fault::of_broker(code).text().to_owned()),
            _ if verdict == Verdict::Again => {
                topic.pause(sent.partition, Moment::now().after(AGAIN));
                self.asks = true;
            }
            // Out of order, or unknown to the broker: another epoch counts from 0 again.
            _ => topic.recall(Fault::of_broker(code)),
        }
    }
}
