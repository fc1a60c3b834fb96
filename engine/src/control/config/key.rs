//! Every key an operator can set: one row each, and the only place that knows them.

use super::value::{Kind, Names, Value};
use crate::limit;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Key {
    /// As the TOML file nests it.
    pub(super) name: &'static str,
    /// Environment variables, the strongest first.
    pub(super) variables: &'static [&'static str],
    pub(super) kind: Kind,
    pub(super) default: Preset,
    /// One sentence for the example file and the help.
    pub(super) sentence: &'static str,
}

/// A default, so that bounds and defaults stay on the page of limits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    Text(&'static str),
    Number(u64),
}

impl Key {
    /// The value when nobody sets it.
    pub(super) fn default_value(&self) -> Value {
        let read = match self.default {
            Preset::Text(text) => self.kind.read(text),
            Preset::Number(number) => self.kind.read(&number.to_string()),
        };
        read.expect("a test reads every default")
    }

    /// Whether the default is written as empty text.
    pub(super) fn takes_empty(&self) -> bool {
        matches!(self.default, Preset::Text(""))
    }
}

const PORT: Kind = Kind::Whole {
    min: 1,
    max: 65_535,
};

use Preset::{Number, Text};

/// Keys of one table of the TOML file stand together.
pub(super) static KEYS: [Key; 50] = [
    Key {
        name: "server.max_message_bytes",
        variables: &["RINGTAIL_MAX_MESSAGE_BYTES"],
        kind: Kind::Size {
            min: limit::MESSAGE_BYTES_MIN as u64,
            max: limit::MESSAGE_BYTES_MAX as u64,
            step: 1,
        },
        default: Number(limit::MESSAGE_BYTES_DEFAULT as u64),
        sentence: "Largest WebSocket message or HTTP body; a larger one is refused.",
    },
    Key {
        name: "server.websocket.port",
        variables: &["SERVER_WEBSOCKET_PORT"],
        kind: PORT,
        default: Number(8080),
        sentence: "Port of WebSocket and REST.",
    },
    Key {
        name: "server.websocket.conn_id_header",
        variables: &["SERVER_WEBSOCKET_CONN_ID_HEADER"],
        kind: Kind::Header,
        default: Text("X-User-ID"),
        sentence: "Header that carries a connection's id.",
    },
    Key {
        name: "server.websocket.conn_group_header",
        variables: &["SERVER_WEBSOCKET_CONN_GROUP_HEADER"],
        kind: Kind::HeaderOrNone,
        default: Text(""),
        sentence: "Header that carries a connection's group; empty: every connection is in the default group.",
    },
    Key {
        name: "server.websocket.conn_group_default",
        variables: &["SERVER_WEBSOCKET_CONN_GROUP_DEFAULT"],
        kind: Kind::Text { bytes_max: 256 },
        default: Text("--default--"),
        sentence: "Group of a connection that names none.",
    },
    Key {
        name: "server.websocket.check_origin",
        variables: &["SERVER_WEBSOCKET_CHECK_ORIGIN"],
        kind: Kind::Switch,
        default: Text("true"),
        sentence: "Refuse a WebSocket whose Origin names another host.",
    },
    Key {
        name: "server.cors.enabled",
        variables: &["SERVER_CORS_ENABLED"],
        kind: Kind::Switch,
        default: Text("false"),
        sentence: "Tell browsers which pages of other hosts may ask over HTTP.",
    },
    Key {
        name: "server.cors.allowed_origin",
        variables: &["SERVER_CORS_ALLOWED_ORIGIN"],
        kind: Kind::Names(Names::Origins),
        default: Text(""),
        sentence: "Origins whose pages may read answers; * or none at all allows every origin.",
    },
    Key {
        name: "server.cors.allowed_methods",
        variables: &["SERVER_CORS_ALLOWED_METHODS"],
        kind: Kind::Names(Names::Methods),
        default: Text("GET,HEAD,POST,OPTIONS"),
        sentence: "Methods that these pages may use.",
    },
    Key {
        name: "server.cors.allowed_headers",
        variables: &["SERVER_CORS_ALLOWED_HEADERS"],
        kind: Kind::Names(Names::Headers),
        default: Text(""),
        sentence: "Headers that these pages may send, beside Content-Type and those of id and group.",
    },
    Key {
        name: "server.cors.allow_credentials",
        variables: &["SERVER_CORS_ALLOW_CREDENTIALS"],
        kind: Kind::Switch,
        default: Text("false"),
        sentence: "Whether these pages may send cookies and the like.",
    },
    Key {
        name: "server.cors.preflight_max_age_seconds",
        variables: &["SERVER_CORS_PREFLIGHT_MAX_AGE_SECONDS"],
        kind: Kind::Whole {
            min: 0,
            max: u32::MAX as u64,
        },
        default: Number(0),
        sentence: "How long browsers may remember what they may do, at most 600 seconds; 0 leaves it to them.",
    },
    Key {
        name: "server.grpc.port",
        variables: &["SERVER_GRPC_PORT"],
        kind: Kind::Whole {
            min: 0,
            max: 65_535,
        },
        default: Number(8081),
        sentence: "Port of gRPC; 0 keeps that door shut.",
    },
    Key {
        name: "event.ack",
        variables: &["EVENT_ACK"],
        kind: Kind::Whole { min: 0, max: 1 },
        default: Number(1),
        sentence: "When a batch is answered: 1 when every event of it is durable, 0 when it is received.",
    },
    Key {
        name: "event.distribution.publisher_pattern",
        variables: &["EVENT_DISTRIBUTION_PUBLISHER_PATTERN"],
        kind: Kind::Pattern,
        default: Text("clickstream-%s-log"),
        sentence: "Topic of an event; %s stands for its type.",
    },
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
    Key {
        name: "policy.topics_max",
        variables: &["RINGTAIL_POLICY_TOPICS_MAX"],
        kind: Kind::Whole {
            min: 0,
            max: limit::TOPICS_MAX as u64,
        },
        default: Number(limit::CLIENT_TOPICS_DEFAULT as u64),
        sentence: "Topics that may come into being because a client names them.",
    },
    Key {
        name: "log.level",
        variables: &["LOG_LEVEL"],
        kind: Kind::Choice(&["trace", "debug", "info", "warn", "error", "fatal", "panic"]),
        default: Text("info"),
        sentence: "How much the program says on standard error; fatal and panic mean error.",
    },
    Key {
        name: "log.volumes",
        variables: &["RINGTAIL_LOG_VOLUMES"],
        kind: Kind::Folders,
        default: Text("./ringtail-data"),
        sentence: "Folders that each hold a copy of the store, on ext4 or xfs.",
    },
    Key {
        name: "log.durable_volumes",
        variables: &["RINGTAIL_LOG_DURABLE_VOLUMES"],
        kind: Kind::Whole {
            min: 0,
            max: limit::VOLUMES_MAX as u64,
        },
        default: Number(0),
        sentence: "Copies that an acknowledgement waits for; 0 waits for all volumes in service.",
    },
    Key {
        name: "log.min_volumes",
        variables: &["RINGTAIL_LOG_MIN_VOLUMES"],
        kind: Kind::Whole {
            min: 0,
            max: limit::VOLUMES_MAX as u64,
        },
        default: Number(0),
        sentence: "With fewer volumes in service new events are refused; 0 means more than half of them, and one of two.",
    },
    Key {
        name: "log.lag_bytes",
        variables: &["RINGTAIL_LOG_LAG_BYTES"],
        kind: Kind::Size {
            min: limit::LAG_BYTES_MIN,
            max: limit::LAG_BYTES_MAX,
            step: 1,
        },
        default: Number(limit::LAG_BYTES_DEFAULT),
        sentence: "A volume that is this far behind the others is taken out of service; it counts for each journal.",
    },
    Key {
        name: "log.rebuild_bytes_per_second",
        variables: &["RINGTAIL_LOG_REBUILD_BYTES_PER_SECOND"],
        kind: Kind::Size {
            min: limit::BACKGROUND_RATE_MIN,
            max: limit::BACKGROUND_RATE_MAX,
            step: 1,
        },
        default: Number(limit::REBUILD_RATE_DEFAULT),
        sentence: "How fast each journal is copied to a volume that comes back or was damaged.",
    },
    Key {
        name: "log.scrub_bytes_per_second",
        variables: &["RINGTAIL_LOG_SCRUB_BYTES_PER_SECOND"],
        kind: Kind::Size {
            min: 0,
            max: limit::BACKGROUND_RATE_MAX,
            step: 1,
        },
        default: Number(limit::SCRUB_RATE_DEFAULT),
        sentence: "How fast each journal's older log files are read again and checked; 0 never does.",
    },
    Key {
        name: "log.segment_bytes",
        variables: &["RINGTAIL_LOG_SEGMENT_BYTES"],
        kind: Kind::Size {
            min: limit::SEGMENT_BYTES_MIN,
            max: limit::SEGMENT_BYTES_MAX,
            step: limit::BLOCK_BYTES,
        },
        default: Number(limit::SEGMENT_BYTES_DEFAULT),
        sentence: "Size of one log file.",
    },
    Key {
        name: "log.segments_prepared",
        variables: &["RINGTAIL_LOG_SEGMENTS_PREPARED"],
        kind: Kind::Whole {
            min: 1,
            max: limit::SEGMENTS_PREPARED_MAX as u64,
        },
        default: Number(limit::SEGMENTS_PREPARED_DEFAULT as u64),
        sentence: "Log files that each journal keeps zero-filled ahead of use.",
    },
    Key {
        name: "log.retention_bytes",
        variables: &["RINGTAIL_LOG_RETENTION_BYTES"],
        kind: Kind::SizeOrNone {
            min: limit::RETENTION_SEGMENTS_MIN * limit::SEGMENT_BYTES_MIN,
        },
        default: Text("none"),
        sentence: "What the whole store may take, prepared files included, before its oldest log files are used again; none keeps everything.",
    },
    Key {
        name: "log.origin",
        variables: &["RINGTAIL_LOG_ORIGIN"],
        kind: Kind::Choice(&["full", "group", "none"]),
        default: Text("full"),
        sentence: "What is kept of each request beside its events: full, group (no connection ids) or none.",
    },
    Key {
        name: "log.commit_wait_us",
        variables: &["RINGTAIL_LOG_COMMIT_WAIT_US"],
        kind: Kind::Whole {
            min: 0,
            max: limit::COMMIT_WAIT_US_MAX as u64,
        },
        default: Number(0),
        sentence: "Microseconds that an idle journal waits for company before it commits: latency for less wear.",
    },
    Key {
        name: "log.frame_bytes",
        variables: &["RINGTAIL_LOG_FRAME_BYTES"],
        kind: Kind::Size {
            min: limit::FRAME_CLOSE_BYTES_MIN as u64,
            max: limit::FRAME_CLOSE_BYTES_MAX as u64,
            step: limit::BLOCK_BYTES,
        },
        default: Number(limit::FRAME_CLOSE_BYTES_DEFAULT as u64),
        sentence: "A commit of this size is closed as soon as another may be in flight.",
    },
    Key {
        name: "log.frames_in_flight",
        variables: &["RINGTAIL_LOG_FRAMES_IN_FLIGHT"],
        kind: Kind::Whole {
            min: 1,
            max: limit::FRAMES_IN_FLIGHT_MAX as u64,
        },
        default: Number(limit::FRAMES_IN_FLIGHT_DEFAULT as u64),
        sentence: "Commits that one journal has on their way to the disk at once.",
    },
    Key {
        name: "log.flush",
        variables: &["RINGTAIL_LOG_FLUSH"],
        kind: Kind::Choice(&["write-through", "data-sync", "never"]),
        default: Text("write-through"),
        sentence: "How a commit becomes durable; never is for measuring and loses acknowledged events with the power.",
    },
    Key {
        name: "log.allow_any_filesystem",
        variables: &["RINGTAIL_LOG_ALLOW_ANY_FILESYSTEM"],
        kind: Kind::Switch,
        default: Text("false"),
        sentence: "Use a volume that is neither on ext4 nor on xfs.",
    },
    Key {
        name: "shard.cpus",
        variables: &["RINGTAIL_SHARDS"],
        kind: Kind::Shards,
        default: Text("auto"),
        sentence: "Shards: auto, a count, or the CPUs they run on, such as 0,2-5.",
    },
    Key {
        name: "shard.in_flight_bytes",
        variables: &["RINGTAIL_SHARD_IN_FLIGHT_BYTES"],
        kind: Kind::Size {
            min: limit::IN_FLIGHT_BYTES_MIN as u64,
            max: limit::IN_FLIGHT_BYTES_MAX as u64,
            step: 1,
        },
        default: Number(limit::IN_FLIGHT_BYTES_DEFAULT as u64),
        sentence: "Bytes of accepted, unanswered requests at which a shard stops reading sockets.",
    },
    Key {
        name: "control.cpu",
        variables: &["RINGTAIL_CONTROL_CPU"],
        kind: Kind::Cpu,
        default: Text("auto"),
        sentence: "CPU of the control core; auto takes one that no shard has, if there is one.",
    },
    Key {
        name: "control.drain_grace_ms",
        variables: &["RINGTAIL_DRAIN_GRACE_MS", "WORKER_BUFFER_FLUSH_TIMEOUT_MS"],
        kind: Kind::Whole {
            min: 0,
            max: limit::DRAIN_GRACE_MS_MAX,
        },
        default: Number(limit::DRAIN_GRACE_MS_DEFAULT),
        sentence: "Milliseconds that shards have at shutdown to answer what is in hand.",
    },
    Key {
        name: "metric.labels_max",
        variables: &["RINGTAIL_METRIC_LABELS_MAX"],
        kind: Kind::Whole {
            min: 1,
            max: limit::LABEL_VALUES_MAX,
        },
        default: Number(limit::LABEL_VALUES_DEFAULT),
        sentence: "Groups, and event types, that each shard's metrics tell apart; the rest is other.",
    },
    Key {
        name: "metric.statsd.enabled",
        variables: &["METRIC_STATSD_ENABLED"],
        kind: Kind::Switch,
        default: Text("false"),
        sentence: "Send Raccoon's metrics to a StatsD server.",
    },
    Key {
        name: "metric.statsd.address",
        variables: &["METRIC_STATSD_ADDRESS"],
        kind: Kind::Text { bytes_max: 256 },
        default: Text(":8125"),
        sentence: "Host and port of the StatsD server; without a host it is this machine.",
    },
    Key {
        name: "metric.statsd.flush_period_ms",
        variables: &["METRIC_STATSD_FLUSH_PERIOD_MS"],
        kind: Kind::Whole {
            min: 100,
            max: limit::STATSD_PERIOD_MS_MAX,
        },
        default: Number(limit::STATSD_PERIOD_MS_DEFAULT),
        sentence: "Milliseconds between two sendings.",
    },
    Key {
        name: "admin.port",
        variables: &["RINGTAIL_ADMIN_PORT", "METRIC_PROMETHEUS_PORT"],
        kind: PORT,
        default: Number(9090),
        sentence: "Port of health, metrics and reading back.",
    },
    Key {
        name: "admin.metrics_path",
        variables: &["RINGTAIL_ADMIN_METRICS_PATH", "METRIC_PROMETHEUS_PATH"],
        kind: Kind::HttpPath,
        default: Text("/metrics"),
        sentence: "Path of the metrics page on the admin port.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for key in &KEYS {
            let shown = key.default_value().to_toml();
            assert!(!shown.is_empty(), "{}", key.name);
        }
    }

    #[test]
    fn names_and_variables_are_used_once() {
        let mut names = HashSet::new();
        for key in &KEYS {
            assert!(names.insert(key.name), "{}", key.name);
            for variable in key.variables {
                assert!(names.insert(variable), "{variable}");
            }
        }
    }

    #[test]
    fn no_key_is_a_table_of_another() {
        for key in &KEYS {
            let inside = format!("{}.", key.name);
            assert!(!KEYS.iter().any(|other| other.name.starts_with(&inside)));
        }
    }

    #[test]
    fn every_sentence_is_one() {
        for key in &KEYS {
            assert!(key.sentence.ends_with('.'), "{}", key.name);
        }
    }
}
