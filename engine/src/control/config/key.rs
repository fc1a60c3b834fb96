//! Every key an operator can set: one row each, and the only place that knows them.

use super::log_keys::LOG;
use super::publisher_keys::PUBLISHER;
pub(super) use super::row::Key;
use super::row::Preset::{Number, Text};
use super::row::{PORT, wait};
use super::value::{Kind, Names};
use crate::limit;

/// All keys; those of one table of the TOML file stand together.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    let publishing = DOORS.iter().chain(&PUBLISHER);
    publishing.chain(&LOG).chain(&HOST)
}

/// What clients meet.
static DOORS: [Key; 29] = [
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
    wait(
        "server.head_wait_ms",
        &["RINGTAIL_HEAD_WAIT_MS"],
        limit::HTTP_HEAD_WAIT,
        "Milliseconds that the head of an HTTP request may take, or a connection may be silent.",
    ),
    wait(
        "server.message_wait_ms",
        &["RINGTAIL_MESSAGE_WAIT_MS"],
        limit::HTTP_BODY_WAIT,
        "Milliseconds that a message or body may take from its first byte to its last.",
    ),
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
        name: "server.websocket.max_conn",
        variables: &["SERVER_WEBSOCKET_MAX_CONN"],
        kind: Kind::Whole {
            min: 1,
            max: limit::CONNECTIONS_MAX,
        },
        default: Number(limit::CONNECTIONS_DEFAULT),
        sentence: "WebSockets that the whole server serves at once; more are told so and closed.",
    },
    Key {
        name: "server.websocket.on_duplicate",
        variables: &["RINGTAIL_ON_DUPLICATE"],
        kind: Kind::Choice(&["refuse", "replace"]),
        default: Text("refuse"),
        sentence: "A second WebSocket of one id and group: refuse it unless the first is dead, or let it replace the first.",
    },
    wait(
        "server.websocket.duplicate_wait_ms",
        &["RINGTAIL_DUPLICATE_WAIT_MS"],
        limit::PROOF_WAIT,
        "Milliseconds that a WebSocket has to show that it lives when a second one of its id and group comes.",
    ),
    wait(
        "server.websocket.ping_interval_ms",
        &["SERVER_WEBSOCKET_PING_INTERVAL_MS"],
        limit::PING_INTERVAL,
        "Milliseconds between two pings to a WebSocket.",
    ),
    wait(
        "server.websocket.pong_wait_interval_ms",
        &["SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS"],
        limit::PONG_WAIT,
        "A WebSocket that sends no pong for so many milliseconds is dropped.",
    ),
    wait(
        "server.websocket.write_wait_interval_ms",
        &["SERVER_WEBSOCKET_WRITE_WAIT_INTERVAL_MS"],
        limit::WRITE_WAIT,
        "A client that does not take what waits for it in so many milliseconds is dropped.",
    ),
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
        name: "policy.topics_max",
        variables: &["RINGTAIL_POLICY_TOPICS_MAX"],
        kind: Kind::Whole {
            min: 0,
            max: limit::TOPICS_MAX as u64,
        },
        default: Number(limit::CLIENT_TOPICS_DEFAULT as u64),
        sentence: "Topics that may come into being because a client names them.",
    },
];

/// What operators give and see.
static HOST: [Key; 11] = [
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
        name: "control.drain_window_ms",
        variables: &["RINGTAIL_DRAIN_WINDOW_MS"],
        kind: Kind::Whole {
            min: 0,
            max: limit::DRAIN_GRACE_MS_MAX,
        },
        default: Number(limit::DRAIN_WINDOW.as_millis() as u64),
        sentence: "Milliseconds over which WebSockets are closed at shutdown, one after the other.",
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
#[path = "key_tests.rs"]
mod tests;
