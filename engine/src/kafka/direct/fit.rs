//! Which properties allow batches to be sent as they are.

use crate::kafka::properties::{find, is_known_as};
use crate::kafka::{Key, Property, Settings};

/// Properties that say nothing about batches that are sent whole, or say what is done anyway: each with the values of
/// which that is so, or any.
const FINE: [(&str, &[&str]); 23] = [
    ("bootstrap.servers", &[]),
    ("client.id", &[]),
    ("security.protocol", &["plaintext"]),
    ("compression.codec", &["none"]),
    ("compression.type", &["none"]),
    ("enable.idempotence", &["true"]),
    ("acks", &[]),
    ("retries", &[]),
    ("retry.backoff.ms", &[]),
    ("retry.backoff.max.ms", &[]),
    ("message.timeout.ms", &[]),
    ("max.in.flight.requests.per.connection", &[]),
    ("linger.ms", &[]),
    ("queue.buffering.max.ms", &[]),
    ("queue.buffering.max.messages", &[]),
    ("queue.buffering.max.kbytes", &[]),
    ("batch.num.messages", &[]),
    ("batch.size", &[]),
    ("statistics.interval.ms", &[]),
    ("delivery.report.only.error", &[]),
    ("transactional.id", &[]),
    // Heeded here too.
    ("transaction.timeout.ms", &[]),
    ("log.queue", &[]),
];

/// Whether batches of the log may be sent as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// To a cluster of these brokers: name or address, and port.
    Yes(Vec<(Box<str>, u16)>),
    /// Why not.
    No(String),
}

/// Kafka's port where none is named.
const PORT: u16 = 9092;

/// What these settings allow.
pub fn fit(settings: &Settings) -> Fit {
    if settings.key != Key::None {
        return Fit::No("records have keys".into());
    }
    if !settings.headers.is_empty() {
        return Fit::No("records have headers".into());
    }
    let unfit = settings.properties.iter().find(|given| !is_fine(given));
    if let Some(given) = unfit {
        return Fit::No(format!(
            "{} = {} is librdkafka's to heed",
            given.name, given.value
        ));
    }
    let servers = find(&settings.properties, "bootstrap.servers").unwrap_or_default();
    let servers: Option<Vec<_>> = servers
        .split(',')
        .map(str::trim)
        .filter(|server| !server.is_empty())
        .map(server)
        .collect();
    match servers {
        Some(servers) if !servers.is_empty() => Fit::Yes(servers),
        _ => Fit::No("bootstrap.servers is not a list of host:port".into()),
    }
}

fn is_fine(given: &Property) -> bool {
    FINE.iter().any(|(name, values)| {
        let fits = values.is_empty() || values.contains(&&*given.value);
        is_known_as(&given.name, name) && fits
    })
}

/// A name or an address, with a port or without; an address of IPv6 in brackets.
fn server(text: &str) -> Option<(Box<str>, u16)> {
    if text.contains("://") {
        return None;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok()?)
        }
        _ => (text, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Header;
    use std::time::Duration;

    fn settings(rows: &[(&str, &str)]) -> Settings {
        let property = |(name, value): &(&str, &str)| Property {
            name: (*name).into(),
            value: (*value).into(),
        };
        Settings {
            properties: rows.iter().map(property).collect(),
            key: Key::None,
            headers: Vec::new(),
            flush_wait: Duration::ZERO,
            create: None,
        }
    }

    #[test]
    fn what_only_librdkafka_can_do_is_left_to_it() {
        let servers = ("metadata.broker.list", "one:1, two , [::1]:3,10.0.0.1:4");
        let found = |host: &str, port| (Box::from(host), port);
        let yes = Fit::Yes(vec![
            found("one", 1),
            found("two", 9092),
            found("::1", 3),
            found("10.0.0.1", 4),
        ]);
        for fine in [("acks", "1"), ("transaction.timeout.ms", "20000")] {
            assert_eq!(fit(&settings(&[servers, fine])), yes);
        }
        for unfit in [
            ("security.protocol", "ssl"),
            ("sasl.mechanism", "PLAIN"),
            ("compression.codec", "lz4"),
            ("partitioner", "murmur2"),
            ("message.max.bytes", "2000"),
            ("broker.address.family", "v6"),
        ] {
            let Fit::No(why) = fit(&settings(&[servers, unfit])) else {
                panic!("{unfit:?} is not heeded");
            };
            assert!(why.contains(unfit.0), "{why}");
        }
        for servers in ["", "PLAINTEXT://one:1", "one:port"] {
            let fit = fit(&settings(&[("bootstrap.servers", servers)]));
            assert!(matches!(fit, Fit::No(_)), "{servers}: {fit:?}");
        }
        let mut keyed = settings(&[servers]);
        keyed.key = Key::ConnId;
        assert!(matches!(fit(&keyed), Fit::No(_)));
        let mut headed = settings(&[servers]);
        headed.headers.push(Header::Received);
        assert!(matches!(fit(&headed), Fit::No(_)));
    }
}
