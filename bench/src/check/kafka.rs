//! Topics of a Kafka cluster, each partition from its beginning to where it ends.
//!
//! Always: offsets only grow, but may leave some out, where transactions left their marks or where compaction was at work.

use std::time::Duration;

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    metadata::MetadataPartition,
};

use super::{Audit, CheckError, Place};

/// For each answer of the brokers.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is read of a cluster.
pub(super) struct Cluster<'a> {
    /// `host:port`, several divided by commas.
    pub(super) brokers: &'a str,
    /// None of them are all that are not Kafka's own.
    pub(super) topics: &'a [String],
    pub(super) read_committed: bool,
}

impl Cluster<'_> {
    pub(super) fn read(&self, audit: &mut Audit) -> Result<(), CheckError> {
        let consumer = self.connect().map_err(|error| self.failed(error))?;
        let partitions = self.partitions(&consumer);
        for (topic, partition) in partitions.map_err(|error| self.failed(error))? {
            self.read_partition(&consumer, &topic, partition, audit)?;
        }
        Ok(())
    }

    fn failed(&self, source: KafkaError) -> CheckError {
        let brokers = self.brokers.to_owned();
        CheckError::Kafka { brokers, source }
    }

    fn connect(&self) -> Result<BaseConsumer, KafkaError> {
        let isolation = if self.read_committed {
            "read_committed"
        } else {
            "read_uncommitted"
        };
        // The library wants a group even of who never joins it.
        ClientConfig::new()
            .set("bootstrap.servers", self.brokers)
            .set("group.id", "ringtail-bench")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation)
            .create()
    }

    fn partitions(&self, consumer: &BaseConsumer) -> Result<Vec<(String, i32)>, KafkaError> {
        let cluster = consumer.fetch_metadata(None, PATIENCE)?;
        let is_wanted = |name: &str| {
            let listed = self.topics.iter().any(|topic| topic == name);
            listed || (self.topics.is_empty() && !name.starts_with("__"))
        };
        let topics = cluster.topics().iter();
        let wanted = topics.filter(|topic| is_wanted(topic.name()));
        let partitions = wanted.flat_map(|topic| {
            let numbers = topic.partitions().iter().map(MetadataPartition::id);
            numbers.map(|number| (topic.name().to_owned(), number))
        });
        Ok(partitions.collect())
    }

    fn read_partition(
        &self,
        consumer: &BaseConsumer,
        topic: &str,
        partition: i32,
        audit: &mut Audit,
    ) -> Result<(), CheckError> {
        let mut place = TopicPartitionList::new();
        place
            .add_partition_offset(topic, partition, Offset::Beginning)
            .and_then(|()| consumer.assign(&place))
            .map_err(|error| self.failed(error))?;
        loop {
            let polled = consumer.poll(PATIENCE);
            let message = match polled.ok_or_else(|| self.silent(topic, partition))? {
                Ok(message) => message,
                Err(KafkaError::PartitionEOF(_)) => return Ok(()),
                Err(error) => return Err(self.failed(error)),
            };
            // What was asked for before may still have been under way.
            if message.topic() != topic || message.partition() != partition {
                continue;
            }
            let at = Place {
                topic,
                partition: partition as u32,
                offset: message.offset() as u64,
            };
            audit.take(at, message.payload().unwrap_or_default());
        }
    }

    fn silent(&self, topic: &str, partition: i32) -> CheckError {
        CheckError::Silent {
            brokers: self.brokers.to_owned(),
            topic: topic.to_owned(),
            partition,
            seconds: PATIENCE.as_secs(),
        }
    }
}
