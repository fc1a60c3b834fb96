//! Event types that no shard knows become topics.
//!
//! Core:    the control core's.
//! Always:  a topic is durable in the catalogue before any shard learns of it; rows of the table
//!          stay where they are.
//! Full:    at the operator's bound the table is closed: it says why no more topics can be.

use crate::limit;
use crate::log::catalogue::Named;
use crate::route::{Table, Topic};
use crate::unit::{TopicId, TopicIndex};
use std::collections::BTreeSet;

/// The topics to make for `wanted`, as long as there is room. Types that have a topic, or whose names
/// are not legal, need none.
pub(super) fn plan(
    table: &Table,
    wanted: &[Box<str>],
    topics_max: usize,
    mut fresh_id: impl FnMut() -> TopicId,
) -> Vec<Named> {
    let rows = limit::TOPIC_ROWS_MAX.saturating_sub(table.topics().len());
    let room = bound(topics_max).saturating_sub(table.living()).min(rows);
    let unknown = wanted
        .iter()
        .filter(|kind| table.route(kind.as_bytes()).is_none());
    // Several types may share a topic; each name once.
    let names: BTreeSet<String> = unknown
        .filter_map(|kind| table.topic_name(kind).ok())
        .collect();
    let fresh = names.into_iter().take(room);
    fresh.map(|name| (fresh_id(), name.into())).collect()
}

/// The table that knows `fresh` too, which is durable.
pub(super) fn settle(table: &Table, fresh: Vec<Named>, topics_max: usize) -> Table {
    let mut table = table.clone();
    for (id, name) in fresh {
        table.add(Topic { id, name });
    }
    close_if_full(&mut table, topics_max);
    table
}

/// The table without one topic, whose deletion is durable.
pub(super) fn without(table: &Table, topic: TopicIndex, topics_max: usize) -> Table {
    let mut table = table.clone();
    table.delete(topic);
    close_if_full(&mut table, topics_max);
    table
}

/// Says in the table that no more topics can be, when that is so.
pub(super) fn close_if_full(table: &mut Table, topics_max: usize) {
    let most = bound(topics_max);
    table.closed = None;
    if limit::TOPIC_ROWS_MAX <= table.topics().len() {
        let why =
            "the topic does not exist, and too many were deleted since the start to make another";
        table.closed = Some(why.into());
    }
    if most <= table.living() {
        let why = format!(
            "the topic does not exist, and clients can make no more than {most} (policy.topics_max)"
        );
        table.closed = Some(why.into());
    }
}

fn bound(topics_max: usize) -> usize {
    topics_max.min(limit::TOPICS_MAX)
}

/// A random number: no two topics share one.
pub(super) fn fresh_id() -> TopicId {
    TopicId(random())
}

/// 128 random bits.
pub(super) fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("a kernel with io_uring gives random numbers");
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Pattern, Reserved};

    fn table(names: &[&str]) -> Table {
        let topics = names.iter().enumerate().map(|(row, name)| Topic {
            id: TopicId(row as u128),
            name: (*name).into(),
        });
        Table::new(
            Pattern::parse("topic-%s").unwrap(),
            Reserved::default(),
            topics,
        )
    }

    fn run(table: &Table, wanted: &[&str], topics_max: usize) -> (Vec<String>, Table) {
        let mut id = 100;
        let fresh = || {
            id += 1;
            TopicId(id)
        };
        let wanted: Vec<_> = wanted.iter().map(|kind| (*kind).into()).collect();
        let fresh = plan(table, &wanted, topics_max, fresh);
        let names = fresh.iter().map(|(_, name)| name.to_string());
        (names.collect(), settle(table, fresh, topics_max))
    }

    #[test]
    fn each_new_type_makes_one_topic() {
        let (fresh, table) = run(&table(&[]), &["a", "b", "a"], 10);
        assert_eq!(fresh, ["topic-a", "topic-b"]);
        assert!(run(&table, &["b"], 10).0.is_empty());
        assert_eq!(table.route(b"b"), Some(TopicIndex(1)));
        assert_eq!(table.closed, None);
    }

    #[test]
    fn topics_that_are_there_keep_their_rows_and_ids() {
        let before = table(&["topic-a", "other"]);
        let (fresh, after) = run(&before, &["b", "a"], 10);
        assert_eq!(fresh, ["topic-b"]);
        assert_eq!(after.topics()[..2], *before.topics());
        assert_eq!(after.route(b"b"), Some(TopicIndex(2)));
    }

    #[test]
    fn clients_make_no_more_topics_than_they_may() {
        let (fresh, table) = run(&table(&[]), &["a", "b", "a"], 1);
        assert_eq!(fresh, ["topic-a"]);
        assert!(table.closed.unwrap().contains("no more than 1"));
    }

    #[test]
    fn a_table_without_room_is_closed_from_the_start() {
        let mut full = table(&["topic-a"]);
        close_if_full(&mut full, 1);
        assert!(full.closed.is_some());
        let mut none = table(&[]);
        close_if_full(&mut none, 0);
        assert!(none.closed.is_some());
    }

    #[test]
    fn a_deleted_topic_makes_room_and_comes_back_anew() {
        let (_, full) = run(&table(&[]), &["a"], 1);
        assert!(full.closed.is_some());
        let gone = without(&full, TopicIndex(0), 1);
        assert_eq!((gone.route(b"a"), gone.closed.is_some()), (None, false));
        let (fresh, again) = run(&gone, &["a"], 1);
        assert_eq!(fresh, ["topic-a"]);
        assert_eq!(again.route(b"a"), Some(TopicIndex(1)));
    }

    #[test]
    fn illegal_names_make_no_topic() {
        let (fresh, table) = run(&table(&[]), &["a b", "../x"], 10);
        assert!(fresh.is_empty());
        assert!(table.topics().is_empty());
    }

    #[test]
    fn fresh_ids_differ() {
        assert_ne!(fresh_id(), fresh_id());
    }
}
