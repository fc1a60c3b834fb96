//! The checked, plain form of the configuration: what each room reads.

use super::value::Value;
use super::{Configuration, Error};
use crate::control::metrics::statsd;
use crate::control::place::Shards;
use crate::{kafka, limit, log, route, shard};
use std::path::PathBuf;
use std::time::Duration;

/// What the control core reads. Nothing in it is optional that the program needs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What every shard gets a copy of.
    pub(crate) shard: shard::Settings,
    pub(crate) shards: Shards,
    /// `None`: a spare CPU, or none of its own.
    pub(crate) control_cpu: Option<usize>,
    pub(crate) admin_port: u16,
    pub(crate) metrics_path: Box<str>,
    /// `None`: nothing is sent to a StatsD server.
    pub(crate) statsd: Option<statsd::Settings>,
    pub(crate) level: tracing::Level,
    /// Where librdkafka's threads run; `None`: where no shard does.
    pub(crate) kafka_cpus: Option<Vec<usize>>,
}

impl Configuration {
    /// Makes the settings, and checks what holds between keys.
    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        self.check_ports()?;
        self.check_pings()?;
        self.check_retention()?;
        self.check_volumes()?;
        self.check_brokers()?;
        self.check_spool()?;
        Ok(Settings {
            shard: self.shard(),
            shards: self.shards("shard.cpus"),
            control_cpu: self.cpu("control.cpu"),
            admin_port: self.whole("admin.port") as u16,
            metrics_path: self.text("admin.metrics_path").into(),
            statsd: self
                .switch("metric.statsd.enabled")
                .then(|| statsd::Settings {
                    address: self.text("metric.statsd.address").into(),
                    period: Duration::from_millis(self.whole("metric.statsd.flush_period_ms")),
                }),
            level: self.level(),
            kafka_cpus: self.cpus("publisher.kafka.cpus"),
        })
    }

    fn shard(&self) -> shard::Settings {
        shard::Settings {
            net: self.net(),
            route: route::Settings {
                pattern: route::Pattern::parse(self.text("event.distribution.publisher_pattern"))
                    .expect("a pattern was parsed when it was read"),
                client_topics_max: self.whole("policy.topics_max") as usize,
                reserved: self.reserved_topics(),
            },
            log: self.log(),
            kafka: self.publishes_to_kafka().then(|| self.kafka()),
            spool: self.spools().then(|| self.spool()),
            ack: match self.whole("event.ack") {
                0 => shard::Acknowledge::Received,
                _ => shard::Acknowledge::Durable,
            },
            connections_max: self.whole("server.websocket.max_conn") as u32,
            on_duplicate: match self.text("server.websocket.on_duplicate") {
                "replace" => shard::OnDuplicate::Replace,
                _ => shard::OnDuplicate::Refuse,
            },
            in_flight_bytes_max: self.whole("shard.in_flight_bytes") as usize,
            drain_window: self.millis("control.drain_window_ms"),
            drain_grace: self.millis("control.drain_grace_ms"),
            allow_any_filesystem: self.switch("log.allow_any_filesystem"),
            labels_max: self.whole("metric.labels_max") as usize,
            dedupe: self.dedupe(),
        }
    }

    fn dedupe(&self) -> Option<shard::dedupe::Settings> {
        let in_connection = self.switch("server.batch.dedup_in_connection_enabled");
        let window_ms = match self.whole("dedupe.window_ms") {
            0 if in_connection => limit::DEDUPE_IN_CONNECTION_WINDOW_MS,
            set => set,
        };
        (0 < window_ms).then(|| shard::dedupe::Settings {
            in_connection,
            across_connections: 0 < self.whole("dedupe.window_ms"),
            window: Duration::from_millis(window_ms),
            batches_max: self.whole("dedupe.batches_max") as usize,
            secret: shard::dedupe::Secret::default(),
        })
    }

    fn net(&self) -> crate::net::Settings {
        crate::net::Settings {
            port: self.whole("server.websocket.port") as u16,
            grpc_port: match self.whole("server.grpc.port") {
                0 => None,
                port => Some(port as u16),
            },
            conn_id_header: self
                .header("server.websocket.conn_id_header")
                .expect("this key holds a header always"),
            conn_group_header: self.header("server.websocket.conn_group_header"),
            conn_group_default: self.text("server.websocket.conn_group_default").into(),
            check_origin: self.switch("server.websocket.check_origin"),
            websocket_deflate: self.switch("server.websocket.permessage_deflate"),
            cors: self.switch("server.cors.enabled").then(|| self.cors()),
            message_bytes_max: self.whole("server.max_message_bytes") as usize,
            grpc_message_bytes_max: self.whole("server.grpc.max_message_bytes") as usize,
            ping_interval: self.millis("server.websocket.ping_interval_ms"),
            pong_wait: self.millis("server.websocket.pong_wait_interval_ms"),
            write_wait: self.millis("server.websocket.write_wait_interval_ms"),
            proof_wait: self.millis("server.websocket.duplicate_wait_ms"),
            head_wait: self.millis("server.head_wait_ms"),
            message_wait: self.millis("server.message_wait_ms"),
        }
    }

    fn cors(&self) -> crate::net::Cors {
        let origins = self.names("server.cors.allowed_origin");
        let all = origins.is_empty() || origins.iter().any(|origin| origin == "*");
        let methods = self.names("server.cors.allowed_methods").iter();
        let always = [
            Some(http::header::CONTENT_TYPE),
            self.header("server.websocket.conn_id_header"),
            self.header("server.websocket.conn_group_header"),
        ];
        let headers = self.names("server.cors.allowed_headers").iter();
        let headers = headers.filter_map(|name| http::HeaderName::try_from(name.as_str()).ok());
        let age = self.whole("server.cors.preflight_max_age_seconds");
        crate::net::Cors {
            origins: (!all).then(|| origins.iter().map(|one| one.as_str().into()).collect()),
            methods: methods
                .filter_map(|name| http::Method::from_bytes(name.as_bytes()).ok())
                .collect(),
            headers: always.into_iter().flatten().chain(headers).collect(),
            credentials: self.switch("server.cors.allow_credentials"),
            max_age_seconds: age.min(limit::CORS_AGE_SECONDS_MAX) as u32,
        }
    }

    /// Whether events go to Kafka.
    pub(super) fn publishes_to_kafka(&self) -> bool {
        match self.text("publisher.type") {
            "auto" => self.properties.names_brokers(),
            kind => kind == "kafka",
        }
    }

    pub(super) fn kafka(&self) -> kafka::Settings {
        // Kafka's word for "the cluster's default".
        let or_default = |name| match self.whole(name) as i32 {
            0 => -1,
            number => number,
        };
        kafka::Settings {
            properties: self.properties.plain(),
            key: match self.text("publisher.kafka.key") {
                "conn_id" => kafka::Key::ConnId,
                "conn_group" => kafka::Key::ConnGroup,
                "req_guid" => kafka::Key::ReqGuid,
                _ => kafka::Key::None,
            },
            headers: kafka_headers(self.names("publisher.kafka.headers")),
            flush_wait: Duration::from_millis(self.whole("publisher.kafka.flush_interval_ms")),
            create: self.switch("publisher.kafka.create_topics").then(|| {
                let partitions = or_default("publisher.kafka.create_partitions");
                (partitions, or_default("publisher.kafka.create_replicas"))
            }),
        }
    }

    fn log(&self) -> log::Settings {
        log::Settings {
            volumes: self.folders("log.volumes"),
            copies: self.copies(),
            scrub_bytes_per_second: self.whole("log.scrub_bytes_per_second"),
            rebuild_bytes_per_second: self.whole("log.rebuild_bytes_per_second"),
            read_bytes_per_second: self.whole("log.read_bytes_per_second"),
            segment_bytes: self.whole("log.segment_bytes"),
            segments_prepared: self.whole("log.segments_prepared") as u32,
            retention_bytes: self.size_or_none("log.retention_bytes"),
            retention: self.retention(),
            repack_below: self.whole("log.repack_below") as u32,
            repack_bytes_per_second: self.whole("log.repack_rate"),
            origin: match self.text("log.origin") {
                "full" => log::Origin::Full,
                "group" => log::Origin::Group,
                _ => log::Origin::None,
            },
            commit_wait_us: self.whole("log.commit_wait_us") as u32,
            frame_bytes: self.whole("log.frame_bytes") as usize,
            frames_in_flight: self.whole("log.frames_in_flight") as usize,
            flush: match self.text("log.flush") {
                "write-through" => log::Flush::WriteThrough,
                "data-sync" => log::Flush::DataSync,
                _ => log::Flush::Never,
            },
            tail_bytes: self.whole("log.tail_bytes") as usize,
        }
    }

    fn copies(&self) -> log::Copies {
        let volumes = self.folders("log.volumes").len();
        let volumes_min = match self.whole("log.min_volumes") as u32 {
            0 => log::Copies::more_than_half(volumes as u32),
            set => set,
        };
        log::Copies {
            durable_volumes: self.whole("log.durable_volumes") as u32,
            volumes_min,
            lag_bytes_max: self.whole("log.lag_bytes"),
        }
    }

    fn retention(&self) -> log::retention::Rules {
        let Value::Rules(topics) = self.value("log.topics") else {
            other_type("log.topics", self.value("log.topics"))
        };
        let age_ms = match self.value("log.retention_age") {
            Value::Nothing => None,
            Value::Age(age_ms) => Some(*age_ms),
            other => other_type("log.retention_age", other),
        };
        log::retention::Rules {
            age_ms,
            topics: topics.clone().into(),
        }
    }

    fn level(&self) -> tracing::Level {
        match self.text("log.level") {
            "trace" => tracing::Level::TRACE,
            "debug" => tracing::Level::DEBUG,
            "info" => tracing::Level::INFO,
            "warn" => tracing::Level::WARN,
            // Raccoon's fatal and panic too.
            _ => tracing::Level::ERROR,
        }
    }

    fn check_ports(&self) -> Result<(), Error> {
        let ports = ["server.websocket.port", "server.grpc.port", "admin.port"];
        for (at, name) in ports.iter().enumerate() {
            let taken = |other: &&&str| self.whole(other) == self.whole(name);
            let other = ports[..at].iter().find(taken);
            self.refuse_if(other.is_some(), name, || {
                format!("another port than {} has", other.unwrap_or(&""))
            })?;
        }
        Ok(())
    }

    fn check_pings(&self) -> Result<(), Error> {
        let (ping, pong) = (
            "server.websocket.ping_interval_ms",
            "server.websocket.pong_wait_interval_ms",
        );
        let late = self.whole(pong) <= self.whole(ping);
        self.refuse_if(late, pong, || format!("more than {ping}"))
    }

    fn check_retention(&self) -> Result<(), Error> {
        let least = limit::RETENTION_SEGMENTS_MIN * self.whole("log.segment_bytes");
        let kept = self.size_or_none("log.retention_bytes");
        let little = kept.is_some_and(|kept| kept < least);
        self.refuse_if(little, "log.retention_bytes", || {
            let segments = limit::RETENTION_SEGMENTS_MIN;
            let least = super::size::show(least);
            format!("none, or at least {segments} times log.segment_bytes ({least})")
        })
    }

    fn check_volumes(&self) -> Result<(), Error> {
        let volumes = self.folders("log.volumes").len() as u64;
        for key in ["log.durable_volumes", "log.min_volumes"] {
            self.refuse_if(volumes < self.whole(key), key, || {
                format!("at most {volumes}, for log.volumes has so many folders")
            })?;
        }
        Ok(())
    }

    fn check_brokers(&self) -> Result<(), Error> {
        let wants = self.publishes_to_kafka() || self.spools();
        let without = wants && !self.properties.names_brokers();
        self.refuse_if(without, "publisher.type", || {
            "brokers for it: set PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS, such as b1:9092,b2:9092"
                .into()
        })
    }

    pub(super) fn refuse_if(
        &self,
        wrong: bool,
        name: &str,
        wanted: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        if !wrong {
            return Ok(());
        }
        let entry = self.entry(name);
        Err(Error::Value {
            name: entry.key.name,
            value: entry.value.to_string(),
            origin: entry.origin.clone(),
            wanted: wanted(),
        })
    }

    /// A number or a size.
    pub(super) fn whole(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Whole(number) | Value::Size(number) => *number,
            other => other_type(name, other),
        }
    }

    pub(super) fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(self.whole(name))
    }

    fn size_or_none(&self, name: &str) -> Option<u64> {
        match self.value(name) {
            Value::Nothing => None,
            Value::Size(bytes) => Some(*bytes),
            other => other_type(name, other),
        }
    }

    fn switch(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Switch(on) => *on,
            other => other_type(name, other),
        }
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            other => other_type(name, other),
        }
    }

    fn header(&self, name: &str) -> Option<http::HeaderName> {
        match self.value(name) {
            Value::Nothing => None,
            _ => http::HeaderName::try_from(self.text(name)).ok(),
        }
    }

    fn folders(&self, name: &str) -> Vec<PathBuf> {
        match self.value(name) {
            Value::Folders(folders) => folders.clone(),
            other => other_type(name, other),
        }
    }

    pub(super) fn names(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::Names(names) => names,
            other => other_type(name, other),
        }
    }

    fn shards(&self, name: &str) -> Shards {
        match self.value(name) {
            Value::Shards(shards) => shards.clone(),
            other => other_type(name, other),
        }
    }

    fn cpus(&self, name: &str) -> Option<Vec<usize>> {
        match self.value(name) {
            Value::Cpus(cpus) => cpus.clone(),
            other => other_type(name, other),
        }
    }

    fn cpu(&self, name: &str) -> Option<usize> {
        match self.value(name) {
            Value::Cpu(cpu) => *cpu,
            other => other_type(name, other),
        }
    }
}

/// A row of the table and the code that reads it disagree; a test reads all of them.
fn other_type(name: &str, value: &Value) -> ! {
    unreachable!("{name} holds {value:?}")
}

/// Each header once, whatever was written twice.
fn kafka_headers(names: &[String]) -> Vec<kafka::Header> {
    let mut headers = Vec::new();
    for name in names {
        let header = match name.as_str() {
            "event_type" => kafka::Header::EventType,
            "conn_group" => kafka::Header::ConnGroup,
            "received" => kafka::Header::Received,
            _ => kafka::Header::ReqGuid,
        };
        if !headers.contains(&header) {
            headers.push(header);
        }
    }
    headers
}
