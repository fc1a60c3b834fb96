//! The table from event type to topic: immutable, replaced whole, never edited.

use super::{Pattern, Reserved};
use crate::unit::{TopicId, TopicIndex};
use foldhash::fast::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// One topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
}

/// Every topic of the store, and which types go where.
#[derive(Clone, Debug)]
pub struct Table {
    pattern: Pattern,
    reserved: Reserved,
    topics: Vec<Topic>,
    /// Asked once for each event: hashed fast, and with a secret, because clients choose the types.
    kinds: HashMap<Box<[u8]>, TopicIndex, RandomState>,
    deleted: BTreeSet<TopicIndex>,
    /// Topics deleted earlier, of which journals may hold something and not know that.
    pub buried: Vec<TopicId>,
    /// Why clients can cause no more topics to exist, when they cannot.
    pub closed: Option<Arc<str>>,
}

impl Table {
    /// A table of the topics of the store, in the order of their rows. No type leads to a reserved one.
    pub fn new(
        pattern: Pattern,
        reserved: Reserved,
        topics: impl IntoIterator<Item = Topic>,
    ) -> Self {
        let mut table = Self {
            pattern,
            reserved,
            topics: Vec::new(),
            kinds: HashMap::default(),
            deleted: BTreeSet::new(),
            buried: Vec::new(),
            closed: None,
        };
        for topic in topics {
            table.add(topic);
        }
        table
    }

    /// Adds a topic as the last row. For the copy that will replace the table.
    pub fn add(&mut self, topic: Topic) -> TopicIndex {
        let index = TopicIndex(self.topics.len() as u32);
        if let Some(kind) = self.pattern.kind_of(&topic.name)
            && !self.is_reserved(&topic.name)
        {
            self.kinds.insert(kind.as_bytes().into(), index);
        }
        self.topics.push(topic);
        index
    }

    /// Marks a topic as deleted: nothing is routed to it any more, and nothing finds it. Its row stays.
    pub fn delete(&mut self, index: TopicIndex) {
        self.kinds.retain(|_, row| *row != index);
        if self.topic(index).is_some() {
            self.deleted.insert(index);
        }
    }

    pub fn is_deleted(&self, index: TopicIndex) -> bool {
        self.deleted.contains(&index)
    }

    /// Topics that are there.
    pub fn living(&self) -> usize {
        self.topics.len() - self.deleted.len()
    }

    fn is_reserved(&self, name: &str) -> bool {
        self.reserved.iter().any(|reserved| **reserved == *name)
    }

    /// The name of the topic that events of `kind` may go to, or why there can be none.
    pub fn topic_name(&self, kind: &str) -> Result<String, String> {
        let name = self.pattern.topic_name(kind)?;
        if self.is_reserved(&name) {
            return Err(format!("topic {name} is not for clients to write to"));
        }
        Ok(name)
    }

    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// By [`TopicIndex`]; rows are only added while the program runs.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    pub fn topic(&self, index: TopicIndex) -> Option<&Topic> {
        self.topics.get(index.0 as usize)
    }

    /// The row of the topic of this name.
    pub fn find(&self, name: &str) -> Option<TopicIndex> {
        let rows = (0..).map(TopicIndex).zip(&self.topics);
        let mut found = rows.filter(|(_, topic)| *topic.name == *name);
        let (row, _) = found.find(|(row, _)| !self.is_deleted(*row))?;
        Some(row)
    }

    /// Where events of this type go; `None` when no topic is known for it yet.
    pub fn route(&self, kind: &[u8]) -> Option<TopicIndex> {
        self.kinds.get(self.pattern.key(kind)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_find_the_topics_that_the_pattern_gives() {
        let topic = |id, name: &str| Topic {
            id: TopicId(id),
            name: name.into(),
        };
        let pattern = Pattern::parse("in-%s").unwrap();
        let topics = [topic(1, "in-click"), topic(2, "other")];
        let table = Table::new(pattern, Reserved::default(), topics);
        assert_eq!(table.route(b"click"), Some(TopicIndex(0)));
        assert_eq!(table.route(b"other"), None);
        assert_eq!(table.find("other"), Some(TopicIndex(1)));
        let mut later = table.clone();
        later.delete(TopicIndex(0));
        assert_eq!(
            (later.route(b"click"), later.find("in-click")),
            (None, None)
        );
        assert_eq!(later.add(topic(3, "in-click")), TopicIndex(2));
        assert_eq!(later.route(b"click"), Some(TopicIndex(2)));
        assert_eq!(
            (later.find("in-click"), later.living()),
            (Some(TopicIndex(2)), 2)
        );
        let all = Pattern::parse("other").unwrap();
        let one = Table::new(all, Reserved::default(), table.topics().to_vec());
        assert_eq!(one.route(b"anything"), Some(TopicIndex(1)));
    }

    #[test]
    fn no_type_leads_to_a_reserved_topic() {
        let reserved: Reserved = [Box::from("letters")].into();
        for (pattern, kind) in [("%s", "letters"), ("let%s", "ters"), ("letters", "any")] {
            let pattern = Pattern::parse(pattern).unwrap();
            let there = Topic {
                id: TopicId(1),
                name: "letters".into(),
            };
            let mut table = Table::new(pattern, Arc::clone(&reserved), [there.clone()]);
            assert_eq!(table.route(kind.as_bytes()), None);
            let why = table.topic_name(kind).unwrap_err();
            assert!(why.contains("topic letters is not for clients"), "{why}");
            // Nor does one that comes while the program runs.
            table.delete(TopicIndex(0));
            table.add(there);
            assert_eq!(table.route(kind.as_bytes()), None);
            // Whoever has the right to it finds it.
            assert_eq!(table.find("letters"), Some(TopicIndex(1)));
        }
    }
}
