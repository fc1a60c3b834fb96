//! With mailboxes between real executors; the shards of these tests only answer letters.

use super::*;
use crate::control::metrics::tests::snapshot;
use crate::log::report::{LossCounts, ScrubCounts, VolumeState};
use crate::route::{Pattern, Reserved, Topic};
use crate::rt::executor::{self, Handle, Plan};
use crate::rt::mailbox::{Receiver, Sender, mailbox};
use crate::spool::retry::{Retried, Retry};
use crate::unit::TopicId;

const SHARDS: u32 = 2;

fn table<const N: usize>(names: [&str; N]) -> Arc<Table> {
    let topics = (0..).zip(names).map(|(row, name)| Topic {
        id: TopicId(row),
        name: name.into(),
    });
    let pattern = Pattern::parse("%s").unwrap();
    Arc::new(Table::new(pattern, Reserved::default(), topics))
}

/// The place of a shard's only partition after a truncation, if that was for it.
fn truncated(
    shard: ShardId,
    (topic, chosen): (TopicIndex, Option<JournalId>),
    offset: Offset,
    before_ms: Option<i64>,
) -> Vec<Place> {
    let journal = JournalId(shard.0);
    let place = Place {
        topic,
        journal,
        first: offset.max(Offset(before_ms.map_or(0, |ms| ms as u64 / 1_000))),
        next: Offset(9),
        dead_bytes: 0,
    };
    let is_chosen = chosen.is_none_or(|chosen| chosen == journal);
    is_chosen.then_some(place).into_iter().collect()
}

fn in_service(shard: ShardId) -> VolumeReport {
    VolumeReport {
        journal: JournalId(shard.0),
        volume: Some(0),
        folder: "/v".into(),
        state: VolumeState::InService,
        scrub: ScrubCounts::default(),
        losses: LossCounts::default(),
    }
}

/// So many letters more than the shard's number; the question comes back in `left` and `faults`.
fn retried(shard: ShardId, retry: &Retry) -> Retried {
    Retried {
        sent: u64::from(shard.0) + 1,
        left: u64::from(retry.dry_run),
        faults: retry.topic.iter().map(ToString::to_string).collect(),
        ..Retried::default()
    }
}

/// Answers every order until it is told to drain.
async fn answer_letters(shard: ShardId, orders: Receiver<Order>, reports: Sender<Report>) {
    let (mut orders, reports) = (orders.connect().await, reports.connect().await);
    let journals = vec![JournalId(shard.0)];
    reports
        .send(Report::Opened { shard, journals })
        .await
        .unwrap();
    while let Some(order) = orders.recv().await {
        let report = match order {
            Order::Serve => Report::Serving { shard },
            Order::Topics(table) => Report::Writable {
                shard,
                fault: Some(format!("{} topics", table.topics().len())),
            },
            Order::Places { ticket } => Report::Places {
                ticket,
                places: vec![Place {
                    topic: TopicIndex(0),
                    journal: JournalId(shard.0),
                    first: Offset(3),
                    next: Offset(u64::from(shard.0) + 5),
                    dead_bytes: 7,
                }],
            },
            Order::Read { ticket, offset, .. } => Report::Records {
                ticket,
                records: Ok(vec![Record {
                    offset,
                    timestamp_ms: 1,
                    value: shard.0.to_string().into(),
                }]),
            },
            Order::Volumes { ticket } => Report::Volumes {
                ticket,
                reports: vec![in_service(shard)],
            },
            Order::Snapshot { ticket } => Report::Snapshot {
                ticket,
                snapshot: snapshot(shard.0, 10, 1),
            },
            Order::Forget { ticket, .. } => Report::Changed {
                ticket,
                places: Ok(Vec::new()),
            },
            Order::Truncate {
                ticket,
                topic,
                journal,
                offset,
                before_ms,
            } => Report::Changed {
                ticket,
                places: Ok(truncated(shard, (topic, journal), offset, before_ms)),
            },
            Order::Retry { ticket, retry } => Report::Retried {
                ticket,
                retried: retried(shard, &retry),
            },
            Order::TopicsRefused { .. } | Order::Returned(_) | Order::Cluster { .. } => continue,
            Order::Drain => Report::Drained { shard },
        };
        let last = matches!(report, Report::Drained { .. });
        reports.send(report).await.unwrap();
        if last {
            break;
        }
    }
}

pub(in crate::control) fn with_fleet<T: 'static, F: Future<Output = T>>(
    body: impl FnOnce(Rc<Fleet>) -> F,
) -> T {
    executor::block_on(&Plan::small("control"), async {
        let fleet = Fleet::new(SHARDS as usize, table(["x"]));
        let mut shards: Vec<Handle<()>> = Vec::new();
        for shard in (0..SHARDS).map(ShardId) {
            let (give, orders) = mailbox(8);
            let (reports, hear) = mailbox(8);
            let plan = Plan::small(&format!("shard-{}", shard.0));
            shards.push(
                executor::start(plan, move || answer_letters(shard, orders, reports)).unwrap(),
            );
            let (give, hear) = futures_util::future::join(give.connect(), hear.connect()).await;
            fleet.connect(shard, give);
            executor::spawn_local(Rc::clone(&fleet).listen(shard, hear)).detach();
        }
        let result = body(Rc::clone(&fleet)).await;
        fleet.order_all(|| Order::Drain).await;
        fleet.ended().await;
        shards.into_iter().for_each(Handle::join);
        result
    })
    .unwrap()
}

#[test]
fn the_fleet_is_ready_when_every_shard_serves() {
    with_fleet(|fleet| async move {
        fleet.reached(Stage::Opened).await.unwrap();
        assert!(fleet.unready().unwrap().starts_with("starting: 0 of 2"));
        fleet.order_all(|| Order::Serve).await;
        fleet.reached(Stage::Serving).await.unwrap();
        assert_eq!(fleet.unready(), None);
        fleet.drain();
        assert_eq!(fleet.unready().as_deref(), Some("draining"));
    });
}

#[test]
fn answers_of_all_shards_come_together() {
    with_fleet(|fleet| async move {
        fleet.reached(Stage::Opened).await.unwrap();
        let places = fleet.places().await.unwrap();
        let nexts: Vec<_> = places.values().map(|place| place.next).collect();
        assert_eq!(nexts, [Offset(5), Offset(6)]);
        let read = fleet.read(JournalId(1), TopicIndex(0), Offset(4), 1).await;
        assert_eq!(read.unwrap().unwrap()[0].value, b"1");
        let read = fleet.read(JournalId(9), TopicIndex(0), Offset(7), 1).await;
        assert_eq!(read, Err(Unanswered::Absent));
    });
}

#[test]
fn every_shard_gets_the_table_and_a_fault_is_told() {
    with_fleet(|fleet| async move {
        fleet.order_all(|| Order::Serve).await;
        fleet.reached(Stage::Serving).await.unwrap();
        fleet.publish(table(["x", "y"])).await;
        assert_eq!(fleet.table().topics().len(), 2);
        // An answer to a later letter shows that the table has arrived.
        fleet.places().await.unwrap();
        let why = fleet.unready();
        assert_eq!(why.as_deref(), Some("shard 0 cannot write: 2 topics"));
    });
}

#[test]
fn wanted_topics_are_gathered() {
    with_fleet(|fleet| async move {
        let wants = fleet.wants.wait();
        for (shard, kind) in [(0, "a"), (1, "b")] {
            fleet.hear(Report::WantTopics {
                shard: ShardId(shard),
                kinds: vec![kind.into()],
            });
        }
        wants.await;
        assert_eq!(fleet.take_wanted(), ["a".into(), "b".into()]);
        assert!(fleet.take_wanted().is_empty());
    });
}

#[test]
fn a_failed_shard_ends_every_wait() {
    with_fleet(|fleet| async move {
        fleet.hear(Report::Failed {
            shard: ShardId(1),
            reason: "no disk".into(),
        });
        let failure = fleet.reached(Stage::Serving).await.unwrap_err();
        assert_eq!(failure.to_string(), "shard 1: no disk");
        assert_eq!(fleet.failed().await, failure);
        assert_eq!(fleet.unready().as_deref(), Some("shard 1: no disk"));
        assert!(!fleet.all_drained());
    });
}

#[test]
fn a_shard_that_ends_without_a_word_has_failed() {
    executor::block_on(&Plan::small("control"), async {
        let fleet = Fleet::new(1, table([]));
        let (reports, hear) = mailbox::<Report>(8);
        drop(reports);
        let listening = Rc::clone(&fleet).listen(ShardId(0), hear.connect().await);
        listening.await;
        assert_eq!(fleet.failed().await.reason, "it ended without a word");
        fleet.ended().await;
    })
    .unwrap();
}
