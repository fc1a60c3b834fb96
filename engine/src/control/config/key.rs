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
        matches!(self.default, Preset::Text("")) && !matches!(self.kind, Kind::TopicRules)
    }
}

use Preset::{Number, Text};

const PORT: Kind = Kind::Whole {
    min: 1,
    max: 65_535,
};

/// Keys of one table of the TOML file stand together.
pub(super) static KEYS: [Key; 53] = [
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
        name: "server.websocket.permessage_deflate",
        variables: &["RINGTAIL_WEBSOCKET_DEFLATE"],
        kind: Kind::Switch,
        default: Text("false"),
        sentence: "Let WebSocket clients send compressed messages (RFC 7692, without context takeover); answers stay plain.",
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
        name: "server.grpc.max_message_bytes",
        variables: &["RINGTAIL_GRPC_MAX_MESSAGE_BYTES"],
        kind: Kind::Size {
            min: limit::MESSAGE_BYTES_MIN as u64,
            max: limit::MESSAGE_BYTES_MAX as u64,
            step: 1,
        },
        default: Number(limit::GRPC_MESSAGE_BYTES_DEFAULT as u64),
        sentence: "Largest gRPC message; a larger one is refused.",
    },
    Key {
        name: "server.batch.dedup_in_connection_enabled",
        variables: &["SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED"],
        kind: Kind::Switch,
        default: Text("false"),
        sentence: "Answer a batch whose req_guid its WebSocket has sent before with success, and do not store it again.",
    },
    Key {
        name: "dedupe.window_ms",
        variables: &["RINGTAIL_DEDUPE_WINDOW_MS"],
        kind: Kind::Whole {
            min: 0,
            max: limit::DEDUPE_WINDOW_MS_MAX,
        },
        default: Number(0),
        sentence: "Milliseconds for which a durable batch is known again by group, id and req_guid, on every connection and shard; 0 never.",
    },
    Key {
        name: "dedupe.batches_max",
        variables: &["RINGTAIL_DEDUPE_BATCHES_MAX"],
        kind: Kind::Whole {
            min: 1,
            max: limit::DEDUPE_BATCHES_MAX,
        },
        default: Number(limit::DEDUPE_BATCHES_DEFAULT),
        sentence: "Durable batches that each shard knows again, about 100 bytes each; the oldest are forgotten first.",
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
        default: Text("journal"),
        sentence: "Where events go; journal is Ringtail's own log.",
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
        name: "log.retention_age",
        variables: &["RINGTAIL_LOG_RETENTION_AGE"],
        kind: Kind::AgeOrNone,
        default: Text("none"),
        sentence: "How long records stay, counted from their receipt, such as 7d; none keeps them whatever their age.",
    },
    Key {
        name: "log.topics",
        variables: &["RINGTAIL_LOG_TOPICS"],
        kind: Kind::TopicRules,
        default: Text(""),
        sentence: "Bounds by topic, such as { pattern = \"click-*\", retention_age = \"7d\", retention_bytes = \"1GiB\" }; the first pattern that fits counts, and what it leaves out is the store's.",
    },
    Key {
        name: "log.repack_below",
        variables: &["RINGTAIL_LOG_REPACK_BELOW"],
        kind: Kind::Whole {
            min: 0,
            max: limit::REPACK_BELOW_MAX,
        },
        default: Number(limit::REPACK_BELOW_DEFAULT),
        sentence: "A full log file is rewritten without what is dead when less than this percentage of it is alive; 0 for never.",
    },
    Key {
        name: "log.repack_rate",
        variables: &["RINGTAIL_LOG_REPACK_RATE"],
        kind: Kind::Size {
            min: limit::REPACK_RATE_MIN,
            max: limit::REPACK_RATE_MAX,
            step: 1,
        },
        default: Number(limit::REPACK_RATE_DEFAULT),
        sentence: "Bytes in a second that all shards together read and write, at most, to rewrite log files.",
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
        name: "log.tail_bytes",
        variables: &["RINGTAIL_LOG_TAIL_BYTES"],
        kind: Kind::Size {
            min: 0,
            max: limit::TAIL_BYTES_MAX,
            step: limit::BLOCK_BYTES,
        },
        default: Number(limit::TAIL_BYTES_DEFAULT),
        sentence: "Newest commits that each journal keeps in memory while readers keep up with it; 0 keeps none.",
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
            let inside = |other: &Key| other.name.starts_with(&format!("{}.", key.name));
            assert!(!KEYS.iter().any(inside));
        }
    }

    #[test]
    fn every_sentence_is_one() {
        assert!(KEYS.iter().all(|key| key.sentence.ends_with('.')));
    }
}
