//! The keys of where events go.

use super::row::Key;
use super::row::Preset::{Number, Text};
use super::value::{Kind, Names};
use crate::limit;

pub(super) static PUBLISHER: [Key; 8] = [
    Key {
        name: "publisher.type",
        variables: &["PUBLISHER_TYPE"],
        kind: Kind::Publisher,
        default: Text("auto"),
        sentence: "Where events go: journal is Ringtail's own log, kafka is Kafka; auto is kafka when brokers are \
                   configured, else journal.",
    },
    Key {
        name: "publisher.kafka.flush_interval_ms",
        variables: &["PUBLISHER_KAFKA_FLUSH_INTERVAL_MS"],
        kind: Kind::Whole {
            min: 0,
            max: limit::DRAIN_GRACE_MS_MAX,
        },
        default: Number(1_000),
        sentence: "How long the end waits for deliveries after connections have had their time, in milliseconds.",
    },
    Key {
        name: "publisher.kafka.key",
        variables: &["RINGTAIL_KAFKA_KEY"],
        kind: Kind::Choice(&["none", "conn_id", "conn_group", "req_guid"]),
        default: Text("none"),
        sentence: "Key of each record; with conn_id one device's events of a topic stay in one partition, in order.",
    },
    Key {
        name: "publisher.kafka.headers",
        variables: &["RINGTAIL_KAFKA_HEADERS"],
        kind: Kind::Names(Names::KafkaHeaders),
        default: Text(""),
        sentence: "Headers of each record: event_type, conn_group, received (milliseconds since 1970), req_guid.",
    },
    Key {
        name: "publisher.kafka.create_topics",
        variables: &["RINGTAIL_KAFKA_CREATE_TOPICS"],
        kind: Kind::Switch,
        default: Text("false"),
        sentence: "Make topics that do not exist, up to policy.topics_max.",
    },
    Key {
        name: "publisher.kafka.create_partitions",
        variables: &["RINGTAIL_KAFKA_CREATE_PARTITIONS"],
        kind: Kind::Whole {
            min: 0,
            max: 10_000,
        },
        default: Number(0),
        sentence: "Partitions of a topic that is made; 0: the cluster's default.",
    },
    Key {
        name: "publisher.kafka.create_replicas",
        variables: &["RINGTAIL_KAFKA_CREATE_REPLICAS"],
        kind: Kind::Whole { min: 0, max: 100 },
        default: Number(0),
        sentence: "Replicas of a topic that is made; 0: the cluster's default.",
    },
    Key {
        name: "publisher.kafka.cpus",
        variables: &["RINGTAIL_KAFKA_CPUS"],
        kind: Kind::Cpus,
        default: Text("auto"),
        sentence: "CPUs of librdkafka's threads, such as 0,2-5; auto: those without a shard, or all where there are none.",
    },
];
