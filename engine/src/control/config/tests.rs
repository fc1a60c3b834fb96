//! The layers together.

use super::*;
use crate::shard::Acknowledge;
use std::path::Path;

fn environment(variables: &[(&str, &str)]) -> Layers {
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    Layers {
        environment: variables.collect(),
        ..Layers::default()
    }
}

fn refusal(layers: Layers) -> String {
    let resolved = Configuration::resolve(layers).and_then(|found| found.settings());
    let line = resolved.unwrap_err().to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

/// A file of its own for each test, gone when dropped.
struct File(PathBuf);

impl File {
    fn new(test: &str, text: &str) -> Self {
        Self::named(&format!("{test}.toml"), text)
    }

    fn named(test: &str, text: &str) -> Self {
        let name = format!("ringtail-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn layers(&self) -> Layers {
        Layers {
            file: Some(self.0.clone()),
            ..Layers::default()
        }
    }

    /// The refusal of this file, without the folder that it lies in.
    fn refusal(&self) -> String {
        let folder = self.0.parent().map(Path::to_string_lossy).unwrap();
        let name = self.0.file_name().unwrap().to_string_lossy();
        refusal(self.layers())
            .replace(&*folder, "")
            .replace(&*name, "x.toml")
            .replace("/x.toml", "x.toml")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn defaults_alone_make_settings() {
    let found = Configuration::resolve(Layers::default()).unwrap();
    assert!(found.notices.is_empty());
    let settings = found.settings().unwrap();
    assert_eq!(settings.shard.net.port, 8080);
    assert_eq!(settings.shard.net.conn_id_header, "x-user-id");
    assert_eq!(settings.shard.net.conn_group_header, None);
    assert_eq!(settings.shard.ack, Acknowledge::Durable);
    assert_eq!(settings.shard.log.retention_bytes, None);
    assert_eq!(settings.shard.log.segment_bytes, 128 << 20);
    assert_eq!(settings.admin_port, 9090);
}

#[test]
fn a_later_layer_wins_and_is_named() {
    let file = File::new(
        "layers",
        "[server.websocket]\nport = 1001\n[admin]\nport = 1002\n",
    );
    let layers = Layers {
        environment: vec![
            ("SERVER_WEBSOCKET_PORT".into(), "2001".into()),
            ("EVENT_ACK".into(), "0".into()),
        ],
        flags: vec![("--port", "server.websocket.port", "3001".into())],
        sets: vec!["log.origin=none".into()],
        ..file.layers()
    };
    let found = Configuration::resolve(layers).unwrap();
    let origin = |name: &str| found.entry(name).origin.to_string();
    assert_eq!(origin("server.websocket.port"), "flag --port");
    assert_eq!(origin("event.ack"), "environment variable EVENT_ACK");
    assert!(origin("admin.port").starts_with("file "));
    assert_eq!(origin("log.origin"), "flag --set");
    assert_eq!(origin("log.flush"), "default");
    let settings = found.settings().unwrap();
    assert_eq!(settings.shard.net.port, 3001);
    assert_eq!(settings.admin_port, 1002);
    assert_eq!(settings.shard.ack, Acknowledge::Received);
}

#[test]
fn the_printed_configuration_has_a_line_for_each_key() {
    let layers = environment(&[("RINGTAIL_SHARDS", "0-1")]);
    let text = Configuration::resolve(layers).unwrap().to_string();
    assert_eq!(text.lines().count(), key::keys().count());
    let line = text.lines().find(|line| line.starts_with("shard.cpus"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(
        words,
        [
            "shard.cpus",
            "0-1",
            "environment",
            "variable",
            "RINGTAIL_SHARDS"
        ]
    );
}

#[test]
fn raccoons_metrics_port_is_the_admin_port_unless_ours_is_set() {
    let raccoon = ("METRIC_PROMETHEUS_PORT", "1111");
    let found = Configuration::resolve(environment(&[raccoon])).unwrap();
    assert_eq!(found.settings().unwrap().admin_port, 1111);
    let both = environment(&[raccoon, ("RINGTAIL_ADMIN_PORT", "2222")]);
    let found = Configuration::resolve(both).unwrap();
    assert_eq!(found.settings().unwrap().admin_port, 2222);
}

#[test]
fn a_bad_value_is_named_with_its_key_and_what_is_wanted() {
    assert_eq!(
        refusal(environment(&[("EVENT_ACK", "2")])),
        r#"event.ack = "2" (environment variable EVENT_ACK): wanted a whole number from 0 to 1"#
    );
    let file = File::new("value", "[log]\nsegment_bytes = \"12XB\"\n");
    assert_eq!(
        file.refusal(),
        "log.segment_bytes = \"12XB\" (file x.toml): wanted a size such as 32MiB, \
         from 32MiB to 4GiB, a multiple of 4096 bytes"
    );
}

#[test]
fn a_wrong_type_in_the_file_is_refused() {
    let file = File::new("type", "[server.websocket]\nport = \"8080\"\n");
    assert_eq!(
        file.refusal(),
        "server.websocket.port = \"8080\" (file x.toml): wanted a whole number from 1 to 65535"
    );
    let file = File::new("table", "[event]\nack = { on = 1 }\n");
    assert!(file.refusal().starts_with("event.ack = { on = 1 } (file"));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let file = File::new("unknown", "[log]\nvolume = \"/a\"\n");
    assert_eq!(
        file.refusal(),
        "unknown key log.volume = \"\\\"/a\\\"\" (file x.toml); did you mean log.volumes?"
    );
    let file = File::new("strange", "zzz = 1\n");
    assert!(
        file.refusal()
            .ends_with("; `ringtail config` lists all keys")
    );
}

#[test]
fn an_unknown_variable_of_ours_is_refused_with_the_nearest_one() {
    assert_eq!(
        refusal(environment(&[("RINGTAIL_LOG_VOLUME", "/a")])),
        "unknown environment variable RINGTAIL_LOG_VOLUME = \"/a\"; did you mean RINGTAIL_LOG_VOLUMES?"
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_the_line() {
    let file = File::new("yaml", "[log]\nvolumes: /a\n");
    let line = file.refusal();
    assert!(line.starts_with("x.toml, line 2: "), "{line}");
    let missing = Layers {
        file: Some("/no/such/file".into()),
        ..Layers::default()
    };
    assert!(refusal(missing).starts_with("cannot read the configuration file /no/such/file: "));
}

#[test]
fn a_set_without_a_key_is_refused() {
    let with = |set: &str| {
        refusal(Layers {
            sets: vec![set.into()],
            ..Layers::default()
        })
    };
    assert!(with("event.ack").ends_with("wanted KEY=VALUE, such as --set event.ack=0"));
    assert!(with("event.akk=0").ends_with("did you mean event.ack?"));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let ports = environment(&[("SERVER_WEBSOCKET_PORT", "9090")]);
    assert!(refusal(ports).ends_with("wanted another port than server.websocket.port has"));
    let ports = environment(&[("SERVER_GRPC_PORT", "8080")]);
    assert!(refusal(ports).ends_with("wanted another port than server.websocket.port has"));
    let pings = environment(&[("SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS", "30000")]);
    assert!(refusal(pings).ends_with("wanted more than server.websocket.ping_interval_ms"));
    let retention = environment(&[("RINGTAIL_LOG_RETENTION_BYTES", "256MiB")]);
    assert!(refusal(retention).ends_with("at least 4 times log.segment_bytes (512MiB)"));
    for variable in ["RINGTAIL_LOG_MIN_VOLUMES", "RINGTAIL_LOG_DURABLE_VOLUMES"] {
        let copies = environment(&[("RINGTAIL_LOG_VOLUMES", "/a"), (variable, "2")]);
        assert!(refusal(copies).ends_with("at most 1, for log.volumes has so many folders"));
    }
}

#[test]
fn raccoons_other_variables_are_accepted_and_named() {
    let layers = environment(&[
        ("WORKER_POOL_SIZE", "5"),
        ("PUBLISHER_KAFKA_CLIENT_GO_BATCH_PRODUCER", "true"),
    ]);
    let notices = Configuration::resolve(layers).unwrap().notices;
    assert_eq!(notices.len(), 2);
    assert!(notices[0].contains("WORKER_POOL_SIZE"));
    assert!(notices[1].contains("PUBLISHER_KAFKA_CLIENT_GO_BATCH_PRODUCER"));
}

#[test]
fn raccoons_yaml_file_is_a_layer_below_the_environment() {
    let file = File::named(
        "raccoon.yaml",
        "server:\n  websocket: { port: 1001 }\n  grpc: { port: 1002 }\n\
         worker: { pool_size: 5 }\nserver_grpc_prt: 3\nmetric:\n  statsd:\n    enabled: true\n",
    );
    let layers = Layers {
        environment: vec![
            ("SERVER_GRPC_PORT".into(), "2002".into()),
            ("WORKER_POOL_SIZE".into(), "7".into()),
        ],
        ..file.layers()
    };
    let found = Configuration::resolve(layers).unwrap();
    let settings = found.settings().unwrap();
    assert_eq!(settings.shard.net.port, 1001);
    assert_eq!(settings.shard.net.grpc_port, Some(2002));
    assert_eq!(settings.statsd.unwrap().period.as_secs(), 10);
    let [pools, stranger] = &found.notices[..] else {
        panic!("{:?}", found.notices);
    };
    assert!(pools.ends_with(": WORKER_POOL_SIZE"), "{pools}");
    assert!(stranger.contains("SERVER_GRPC_PRT"), "{stranger}");
    assert!(
        stranger.ends_with("did you mean SERVER_GRPC_PORT?"),
        "{stranger}"
    );
}

#[test]
fn a_bad_value_in_the_yaml_file_is_refused_as_anywhere() {
    let file = File::named("bad.yaml", "event:\n  ack: 2\n");
    let line = refusal(file.layers());
    assert!(line.starts_with("event.ack = \"2\" (file "), "{line}");
}

/// Every variable that Raccoon has is a key here or is named at start.
#[test]
fn every_variable_of_raccoons_is_known() {
    let list = "\
        SERVER_WEBSOCKET_PORT SERVER_WEBSOCKET_MAX_CONN SERVER_WEBSOCKET_READ_BUFFER_SIZE \
        SERVER_WEBSOCKET_WRITE_BUFFER_SIZE SERVER_WEBSOCKET_CONN_ID_HEADER \
        SERVER_WEBSOCKET_CONN_GROUP_HEADER SERVER_WEBSOCKET_CONN_GROUP_DEFAULT \
        SERVER_WEBSOCKET_PING_INTERVAL_MS SERVER_WEBSOCKET_PONG_WAIT_INTERVAL_MS \
        SERVER_WEBSOCKET_WRITE_WAIT_INTERVAL_MS SERVER_WEBSOCKET_PINGER_SIZE \
        SERVER_WEBSOCKET_CHECK_ORIGIN SERVER_CORS_ENABLED SERVER_CORS_ALLOWED_ORIGIN \
        SERVER_CORS_ALLOWED_METHODS SERVER_CORS_ALLOWED_HEADERS SERVER_CORS_ALLOW_CREDENTIALS \
        SERVER_CORS_PREFLIGHT_MAX_AGE_SECONDS SERVER_GRPC_PORT \
        SERVER_BATCH_DEDUP_IN_CONNECTION_ENABLED WORKER_BUFFER_CHANNEL_SIZE \
        WORKER_BUFFER_FLUSH_TIMEOUT_MS WORKER_POOL_SIZE WORKER_KAFKA_DELIVERY_CHANNEL_SIZE \
        EVENT_ACK EVENT_DISTRIBUTION_PUBLISHER_PATTERN PUBLISHER_TYPE \
        PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS PUBLISHER_KAFKA_FLUSH_INTERVAL_MS \
        PUBLISHER_KAFKA_DELIVERY_CHANNEL_SIZE METRIC_RUNTIME_STATS_RECORD_INTERVAL_MS \
        METRIC_STATSD_ENABLED METRIC_STATSD_ADDRESS METRIC_STATSD_FLUSH_PERIOD_MS \
        METRIC_PROMETHEUS_ENABLED METRIC_PROMETHEUS_PORT METRIC_PROMETHEUS_PATH LOG_LEVEL";
    for name in list.split_whitespace() {
        let is_key = key::keys().any(|key| key.variables.contains(&name));
        let is_known = is_key || raccoon::is_known(name) || name.starts_with(client::VARIABLE);
        assert!(is_known, "{name}");
    }
}
