//! The keys of where events go.

use super::row::Key;
use super::row::Preset::{Number, Text};
use super::value::{Kind, Names};
use crate::limit;

pub(super) static PUBLISHER: [Key; 21] = [
    Key {
        name: "publisher.type",
        variables: &["PUBLISHER_TYPE"],
        kind: Kind::Publisher,
        default: Text("auto"),
        sentence: "Where events go: journal is Ringtail's own log, kafka is Kafka, spool is the log and from there \
                   Kafka; auto is kafka when brokers are configured, else journal.",
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
    Key {
        name: "spool.delivery",
        variables: &["RINGTAIL_SPOOL_DELIVERY"],
        kind: Kind::Choice(&["at-least-once", "exactly-once"]),
        default: Text("at-least-once"),
        sentence: "at-least-once: after a crash, some events may come to Kafka twice; exactly-once: events come in \
                   transactions, and who reads with read_committed sees each once.",
    },
    Key {
        name: "spool.overflow",
        variables: &["RINGTAIL_SPOOL_OVERFLOW"],
        kind: Kind::Choice(&["refuse", "drop-oldest"]),
        default: Text("refuse"),
        sentence: "When what waits for Kafka takes all of log.retention_bytes: refuse new events, or drop the oldest \
                   and count them.",
    },
    Key {
        name: "spool.in_flight_bytes",
        variables: &["RINGTAIL_SPOOL_IN_FLIGHT_BYTES"],
        kind: Kind::Size {
            min: limit::SPOOL_BYTES_MIN,
            max: limit::SPOOL_BYTES_MAX,
            step: 1,
        },
        default: Number(limit::SPOOL_BYTES_DEFAULT),
        sentence: "What each journal has under way to Kafka at once.",
    },
    Key {
        name: "spool.writer",
        variables: &["RINGTAIL_SPOOL_WRITER"],
        kind: Kind::Choice(&["auto", "librdkafka"]),
        default: Text("auto"),
        sentence: "auto sends the log's record batches as they are where no property forbids it (TLS, SASL, compression, \
                   keys and headers do), and record by record otherwise; librdkafka: always record by record.",
    },
    Key {
        name: "spool.order",
        variables: &["RINGTAIL_SPOOL_ORDER"],
        kind: Kind::Choice(&["live-first", "oldest-first"]),
        default: Text("live-first"),
        sentence: "Who comes first on a shard that has too much to do: new events, or those that wait for Kafka. \
                   Each journal goes to Kafka in its order either way.",
    },
    Key {
        name: "spool.share",
        variables: &["RINGTAIL_SPOOL_SHARE"],
        kind: Kind::Whole {
            min: 1,
            max: limit::SPOOL_SHARE_MAX,
        },
        default: Number(limit::SPOOL_SHARE_DEFAULT),
        sentence: "Part of such a shard's time for who comes second, in percent; what the first does not need is the \
                   second's as well.",
    },
    Key {
        name: "spool.read_bytes_per_second",
        variables: &["RINGTAIL_SPOOL_READ_BYTES_PER_SECOND"],
        kind: Kind::Size {
            min: limit::SPOOL_READ_RATE_MIN,
            max: limit::SPOOL_READ_RATE_MAX,
            step: 1,
        },
        default: Number(limit::SPOOL_READ_RATE_DEFAULT),
        sentence: "What is read from the disk in a second to be forwarded, by all journals together; events that are \
                   still in memory are not counted.",
    },
    Key {
        name: "spool.dead_letter_topic",
        variables: &["RINGTAIL_SPOOL_DEAD_LETTER_TOPIC"],
        kind: Kind::Text {
            bytes_max: limit::TOPIC_NAME_BYTES_MAX,
        },
        default: Text("ringtail-dead-letters"),
        sentence: "The log's topic for events that Kafka will never take, each with the reason; it is not forwarded.",
    },
    Key {
        name: "spool.topic_wait_ms",
        variables: &["RINGTAIL_SPOOL_TOPIC_WAIT_MS"],
        kind: Kind::Whole {
            min: 0,
            max: limit::WAIT_MS_MAX,
        },
        default: Number(limit::SPOOL_TOPIC_WAIT_MS_DEFAULT),
        sentence: "How long events of a topic that Kafka does not have, or refuses, are tried again before they become \
                   dead letters, in milliseconds.",
    },
    Key {
        name: "spool.cursor_topic",
        variables: &["RINGTAIL_SPOOL_CURSOR_TOPIC"],
        kind: Kind::Text {
            bytes_max: limit::TOPIC_NAME_BYTES_MAX,
        },
        default: Text("ringtail-spool-cursors"),
        sentence: "exactly-once: Kafka's topic that says how far each journal came; made, with cleanup.policy=compact, \
                   when it is not there.",
    },
    Key {
        name: "spool.transaction_events",
        variables: &["RINGTAIL_SPOOL_TRANSACTION_EVENTS"],
        kind: Kind::Whole {
            min: 1,
            max: limit::SPOOL_TRANSACTION_EVENTS_MAX,
        },
        default: Number(limit::SPOOL_TRANSACTION_EVENTS_DEFAULT),
        sentence: "exactly-once: a transaction with so many events is committed; it ends with a commit of the log, so \
                   it may have more.",
    },
    Key {
        name: "spool.transaction_bytes",
        variables: &["RINGTAIL_SPOOL_TRANSACTION_BYTES"],
        kind: Kind::Size {
            min: limit::SPOOL_TRANSACTION_BYTES_MIN,
            max: limit::SPOOL_TRANSACTION_BYTES_MAX,
            step: 1,
        },
        default: Number(limit::SPOOL_TRANSACTION_BYTES_DEFAULT),
        sentence: "exactly-once: a transaction with so many bytes of the log is committed.",
    },
    Key {
        name: "spool.transaction_ms",
        variables: &["RINGTAIL_SPOOL_TRANSACTION_MS"],
        kind: Kind::Whole {
            min: 0,
            max: limit::SPOOL_TRANSACTION_MS_MAX,
        },
        default: Number(limit::SPOOL_TRANSACTION_MS_DEFAULT),
        sentence: "exactly-once: a transaction of this age is committed, in milliseconds; consumers see its events \
                   then. While it brings what is late by more than two seconds it may be a second old.",
    },
];
