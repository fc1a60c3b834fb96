//! A producer that sends the log's record batches as they are: nothing is taken apart, copied record by record, or
//! reported record by record. It says only what a forwarder needs; whatever is out of the ordinary goes back to the
//! forwarder, which has librdkafka for it.
//!
//! | file        | is                                                                             |
//! |-------------|--------------------------------------------------------------------------------|
//! | `wire`      | the words of the protocol                                                      |
//! | `partition` | what waits for one partition, and what became of it                            |
//! | `topic`     | a topic's partitions, and whether its batches may go this way                  |
//! | `scout`     | who leads what: the cluster is asked, and gives the producer its number        |
//! | `link`      | a connection to one broker: up to five requests under way                      |
//! | `inbox`     | what has come from a broker, cut into whole answers                            |
//! | `fit`       | which properties allow all this                                                |
//! | `transacted` | the same in transactions, on a thread that may wait                           |
//!
//! Always:  a batch that was taken is told of exactly once: delivered, or given back with Kafka's reason. Batches of one
//!          partition arrive in the order in which they were given; one that may have arrived is sent again under its
//!          old number, by which the broker knows it.
//! Core:    one shard; everything is one task of it.
//! Cancel:  dropping it gives up what it holds, and the log has that still.
//! Full:    the forwarder's window bounds what is held.

mod fit;
mod inbox;
mod link;
mod partition;
mod scout;
mod topic;
pub mod transacted;
mod wire;

pub use fit::{Fit, fit};

use super::native::Fault;
use crate::rt::notify::{Notify, Wait};
use crate::rt::timer::Moment;
use crate::unit::TopicIndex;
use futures_util::StreamExt as _;
use futures_util::future::{LocalBoxFuture, select};
use futures_util::stream::FuturesUnordered;
use partition::Lot;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use topic::Topic;
use wire::Broker;

/// Kafka's error code for a request that it does not know in this version.
const UNSUPPORTED_VERSION: i16 = 35;

/// Whose batch it is, in the forwarder's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub topic: TopicIndex,
    /// The first of its parts in the forwarder's window, and how many there are.
    pub part: u32,
    pub parts: u32,
    pub records: u32,
    /// Of the frame that holds it: says which partition's turn it is, so that a batch which is sent again after a crash comes
    /// to the same partition behind what it came behind before.
    pub sequence: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub mark: Mark,
    /// Why it came back, and all that was behind it of its topic comes back with it.
    pub fault: Option<Fault>,
}

struct State {
    topics: HashMap<Arc<str>, Topic>,
    brokers: BTreeMap<i32, Broker>,
    /// Brokers with a connection, or with a task that tries to have one.
    linked: BTreeSet<i32>,
    /// The producer's number and epoch.
    producer: Option<(i64, i16)>,
    /// Reasons to ask the cluster, and how many of them came before the last question that told all.
    reasons: u64,
    reasons_met: u64,
    told: VecDeque<Told>,
    /// Records that were taken and not told of.
    outstanding: u64,
    /// It was said that something keeps batches from leaving.
    is_troubled: bool,
    /// A broker does not understand what is said here.
    is_unfit: bool,
}

/// One producer.
pub struct Direct {
    bootstrap: Vec<(Box<str>, u16)>,
    state: RefCell<State>,
    /// For connections: there is something to send, or to give up.
    work: Notify,
    /// For the one who asks the cluster.
    question: Notify,
    /// For the forwarder.
    news: Notify,
}

impl Direct {
    /// A producer for the cluster of these brokers. [`Direct::run`] is to be run beside it.
    pub fn new(bootstrap: Vec<(Box<str>, u16)>) -> Self {
        let state = State {
            topics: HashMap::new(),
            brokers: BTreeMap::new(),
            linked: BTreeSet::new(),
            producer: None,
            reasons: 0,
            reasons_met: 0,
            told: VecDeque::new(),
            outstanding: 0,
            is_troubled: false,
            is_unfit: false,
        };
        Self {
            bootstrap,
            state: RefCell::new(state),
            work: Notify::new(),
            question: Notify::new(),
            news: Notify::new(),
        }
    }

    /// Whether batches of this topic may go this way now.
    pub fn takes(&self, topic: &str) -> bool {
        let state = self.state.borrow();
        let topic = state.topics.get(topic);
        !state.is_unfit && topic.is_none_or(|topic| topic.takes(Moment::now()))
    }

    /// Takes a batch; to be asked before: [`Direct::takes`].
    pub fn send(&self, name: &Arc<str>, mark: Mark, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.outstanding += u64::from(mark.records);
        if !state.topics.contains_key(name) {
            state.topics.insert(Arc::clone(name), Topic::default());
        }
        let topic = state
            .topics
            .get_mut(name)
            .expect("it was made when it was missing");
        topic.take(Lot::new(mark, bytes.to_vec()));
        // Also while a question is under way: it may have been asked without this topic.
        if topic.is_unknown() {
            state.reasons += 1;
            self.question.wake_all();
        }
        self.work.wake_all();
    }

    /// Batches of this topic wait here from now on, until [`Direct::release`].
    pub fn hold(&self, name: &Arc<str>) {
        let mut state = self.state.borrow_mut();
        let topic = state.topics.entry(Arc::clone(name));
        topic.or_default().hold();
    }

    /// Batches of this topic may leave.
    pub fn release(&self, name: &str) {
        let mut state = self.state.borrow_mut();
        if let Some(topic) = state.topics.get_mut(name) {
            topic.release();
        }
        drop(state);
        self.work.wake_all();
    }

    /// What became of a batch; `None` when that is all for now.
    pub fn next(&self) -> Option<Told> {
        self.state.borrow_mut().told.pop_front()
    }

    /// Resolves when there is more for [`Direct::next`].
    pub fn wait(&self) -> Wait<'_> {
        self.news.wait()
    }

    /// Records that were taken and not told of.
    pub fn outstanding(&self) -> u64 {
        self.state.borrow().outstanding
    }

    /// Connects, sends and listens, for as long as it is polled.
    pub async fn run(self: Rc<Self>) {
        let mut tasks: FuturesUnordered<LocalBoxFuture<'_, ()>> = FuturesUnordered::new();
        tasks.push(Box::pin(self.scout()));
        loop {
            let work = self.work.wait();
            for broker in self.unlinked() {
                tasks.push(Box::pin(self.link(broker)));
            }
            if tasks.is_empty() {
                work.await;
            } else {
                let _one = select(pin!(tasks.next()), work).await;
            }
        }
    }

    /// Brokers that lead something which waits, and have no connection.
    fn unlinked(&self) -> Vec<i32> {
        let mut state = self.state.borrow_mut();
        let State {
            topics,
            brokers,
            linked,
            ..
        } = &mut *state;
        let mut found: Vec<i32> = brokers.keys().copied().collect();
        found.retain(|broker| {
            let wanted = topics.values().any(|topic| topic.wants(*broker));
            wanted && linked.insert(*broker)
        });
        found
    }

    /// The cluster is asked again who leads what.
    fn ask_again(&self) {
        self.state.borrow_mut().reasons += 1;
        self.question.wake_all();
    }

    /// Nothing that this connection has under way will be answered.
    fn lost(&self, broker: i32) {
        let mut state = self.state.borrow_mut();
        for topic in state.topics.values_mut() {
            topic.lost(broker);
        }
        state.linked.remove(&broker);
        drop(state);
        self.give_back();
        self.ask_again();
        self.work.wake_all();
    }

    /// Gives back what will not go this way, of every topic of which nothing is under way any more.
    fn give_back(&self) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut any = false;
        for topic in state.topics.values_mut() {
            let outstanding = &mut state.outstanding;
            let told = &mut state.told;
            topic.give_back(&mut |lot, fault| {
                any = true;
                *outstanding -= u64::from(lot.mark.records);
                told.push_back(Told {
                    mark: lot.mark,
                    fault: Some(fault),
                });
            });
        }
        if any {
            self.news.wake_all();
        }
    }

    /// Something keeps batches from leaving: said once, until it is over.
    fn say(&self, trouble: &str) {
        if !self.state.borrow().is_troubled {
            tracing::warn!("kafka: {trouble}");
        }
        self.state.borrow_mut().is_troubled = true;
    }

    /// A broker does not understand what is said here: everything goes back, and nothing is taken any more.
    fn retire(&self) {
        let fault = Fault::of_broker(UNSUPPORTED_VERSION);
        let mut state = self.state.borrow_mut();
        state.is_unfit = true;
        for topic in state.topics.values_mut() {
            topic.recall(fault);
        }
        drop(state);
        self.give_back();
    }

    fn is_well(&self) {
        self.state.borrow_mut().is_troubled = false;
    }
}

impl State {
    /// Whether nothing is under way at all.
    fn is_still(&self) -> bool {
        self.topics.values().all(|topic| topic.under_way() == 0)
    }

    fn delivered(&mut self, mark: Mark) {
        self.outstanding -= u64::from(mark.records);
        self.told.push_back(Told { mark, fault: None });
    }
}
