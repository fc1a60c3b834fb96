//! The settings of a spool, and what must hold between its keys and others.

use super::{Configuration, Error};
use crate::limit::SPOOL_EVENTS_MAX;
use crate::log::journal::Overflow;
use crate::spool::exactly;
use crate::{route, spool};

/// What Kafka keeps for itself.
const OF_KAFKA: [&str; 4] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
    "__cluster_metadata",
];

impl Configuration {
    /// Whether events go to the log, and from there to Kafka.
    pub(super) fn spools(&self) -> bool {
        self.text("publisher.type") == "spool"
    }

    pub(super) fn spool(&self) -> spool::Settings {
        spool::Settings {
            kafka: self.kafka(),
            overflow: match self.text("spool.overflow") {
                "drop-oldest" => Overflow::DropOldest,
                _ => Overflow::Refuse,
            },
            in_flight_bytes: self.whole("spool.in_flight_bytes"),
            writer: match self.text("spool.writer") {
                "librdkafka" => spool::Writer::Librdkafka,
                _ => spool::Writer::Auto,
            },
            order: match self.text("spool.order") {
                "oldest-first" => spool::Order::OldestFirst,
                _ => spool::Order::LiveFirst,
            },
            share: self.whole("spool.share") as u32,
            read_bytes_per_second: self.whole("spool.read_bytes_per_second"),
            letters: self.text("spool.dead_letter_topic").into(),
            topic_wait: self.millis("spool.topic_wait_ms"),
            exactly: (self.text("spool.delivery") == "exactly-once").then(|| exactly::Settings {
                cursors: self.text("spool.cursor_topic").into(),
                // One that waited for more than there is room for would never be full.
                events_max: self.whole("spool.transaction_events").min(SPOOL_EVENTS_MAX),
                bytes_max: self
                    .whole("spool.transaction_bytes")
                    .min(self.whole("spool.in_flight_bytes")),
                wait: self.millis("spool.transaction_ms"),
            }),
        }
    }

    /// Topics that clients cannot write to: Kafka's own, and the log's dead letters and the spool's cursors, also where
    /// nothing is forwarded just now.
    pub(super) fn reserved_topics(&self) -> route::Reserved {
        let ours = ["spool.dead_letter_topic", "spool.cursor_topic"].map(|key| self.text(key));
        let ours = ours.into_iter().filter(|_| !self.publishes_to_kafka());
        OF_KAFKA.into_iter().chain(ours).map(Box::from).collect()
    }

    pub(super) fn check_spool(&self) -> Result<(), Error> {
        for key in ["spool.dead_letter_topic", "spool.cursor_topic"] {
            let illegal = route::policy::check_name(self.text(key));
            self.refuse_if(illegal.is_err(), key, || {
                "a name that Kafka would take: letters, digits, '.', '_' and '-'".into()
            })?;
        }
        if !self.spools() {
            return Ok(());
        }
        let letters = self.text("spool.dead_letter_topic");
        let pattern = self.text("event.distribution.publisher_pattern");
        self.refuse_if(pattern == letters, "spool.dead_letter_topic", || {
            "another topic than that of the events (event.distribution.publisher_pattern)".into()
        })?;
        // The forwarder knows of a request what the log keeps of it.
        let key = self.text("publisher.kafka.key");
        let headers = self.names("publisher.kafka.headers");
        let wants = |name: &str| key == name || headers.iter().any(|header| header == name);
        let full = wants("conn_id") || wants("req_guid");
        let some = wants("conn_group") || wants("event_type");
        let kept = self.text("log.origin");
        let little = (full && kept != "full") || (some && kept == "none");
        self.refuse_if(little, "log.origin", || {
            let least = if full { "full" } else { "group or full" };
            format!("{least}: the spool takes keys and headers of Kafka's records from what the log keeps")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layers;
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<spool::Settings>, String> {
        let variable = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        let brokers = ("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", "b:1");
        let found = Configuration::resolve(Layers {
            environment: variables.iter().chain([&brokers]).map(variable).collect(),
            ..Layers::default()
        });
        let settings = found.and_then(|found| found.settings());
        let settings = settings.map_err(|error| error.to_string())?;
        assert!(settings.shard.kafka.is_none() || settings.shard.spool.is_none());
        Ok(settings.shard.spool)
    }

    #[test]
    fn a_spool_is_the_log_with_a_way_to_kafka() {
        assert!(read(&[]).unwrap().is_none(), "brokers alone mean kafka");
        let spool = read(&[("PUBLISHER_TYPE", "spool")]).unwrap().unwrap();
        assert_eq!(spool.overflow, Overflow::Refuse);
        assert_eq!(&*spool.letters, "ringtail-dead-letters");
        assert_eq!((spool.order, spool.share), (spool::Order::LiveFirst, 25));
        assert_eq!(spool.writer, spool::Writer::Auto);
        let oldest = [
            ("PUBLISHER_TYPE", "spool"),
            ("RINGTAIL_SPOOL_WRITER", "librdkafka"),
            ("RINGTAIL_SPOOL_ORDER", "oldest-first"),
            ("RINGTAIL_SPOOL_SHARE", "10"),
            ("RINGTAIL_SPOOL_READ_BYTES_PER_SECOND", "64MiB"),
        ];
        let spool = read(&oldest).unwrap().unwrap();
        assert_eq!((spool.order, spool.share), (spool::Order::OldestFirst, 10));
        assert_eq!(spool.read_bytes_per_second, 64 << 20);
        assert_eq!(spool.writer, spool::Writer::Librdkafka);
        let drops = [
            ("PUBLISHER_TYPE", "spool"),
            ("RINGTAIL_SPOOL_OVERFLOW", "drop-oldest"),
        ];
        assert_eq!(
            read(&drops).unwrap().unwrap().overflow,
            Overflow::DropOldest
        );
    }

    #[test]
    fn transactions_are_wished_for_and_bounded() {
        let plain = read(&[("PUBLISHER_TYPE", "spool")]).unwrap().unwrap();
        assert!(plain.exactly.is_none());
        let rows = [
            ("PUBLISHER_TYPE", "spool"),
            ("RINGTAIL_SPOOL_DELIVERY", "exactly-once"),
            ("RINGTAIL_SPOOL_TRANSACTION_EVENTS", "7"),
            ("RINGTAIL_SPOOL_TRANSACTION_BYTES", "1MiB"),
            ("RINGTAIL_SPOOL_TRANSACTION_MS", "20"),
        ];
        let exactly = read(&rows).unwrap().unwrap().exactly.unwrap();
        assert_eq!(&*exactly.cursors, "ringtail-spool-cursors");
        assert_eq!((exactly.events_max, exactly.bytes_max), (7, 1 << 20));
        assert_eq!(exactly.wait.as_millis(), 20);
        // Not beyond what may be under way.
        let rows = [
            ("PUBLISHER_TYPE", "spool"),
            ("RINGTAIL_SPOOL_DELIVERY", "exactly-once"),
            ("RINGTAIL_SPOOL_TRANSACTION_EVENTS", "1000000"),
            ("RINGTAIL_SPOOL_IN_FLIGHT_BYTES", "2MiB"),
        ];
        let exactly = read(&rows).unwrap().unwrap().exactly.unwrap();
        let bounds = (exactly.events_max, exactly.bytes_max);
        assert_eq!(bounds, (SPOOL_EVENTS_MAX, 2 << 20));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_key() {
        let refused = |name: &str, value: &str, more: (&str, &str)| {
            let rows = [("PUBLISHER_TYPE", "spool"), (name, value), more];
            read(&rows).unwrap_err()
        };
        let nothing = ("RINGTAIL_SHARDS", "1");
        let share = refused("RINGTAIL_SPOOL_SHARE", "51", nothing);
        assert!(
            share.contains("spool.share") && share.contains("50"),
            "{share}"
        );
        let name = refused("RINGTAIL_SPOOL_DEAD_LETTER_TOPIC", "a b", nothing);
        assert!(name.contains("dead_letter_topic"), "{name}");
        let all = ("EVENT_DISTRIBUTION_PUBLISHER_PATTERN", "all");
        let same = refused("RINGTAIL_SPOOL_DEAD_LETTER_TOPIC", "all", all);
        assert!(same.contains("another topic than"), "{same}");
        let name = refused("RINGTAIL_SPOOL_CURSOR_TOPIC", "..", nothing);
        assert!(name.contains("cursor_topic"), "{name}");
        let group = ("RINGTAIL_LOG_ORIGIN", "group");
        let key = refused("RINGTAIL_KAFKA_KEY", "conn_id", group);
        assert!(key.contains("log.origin") && key.contains("full"), "{key}");
        let rows = [
            ("PUBLISHER_TYPE", "spool"),
            ("RINGTAIL_KAFKA_KEY", "conn_group"),
            group,
        ];
        assert!(read(&rows).is_ok());
    }
}
