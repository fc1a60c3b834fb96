//! librdkafka's statistics, as it gives them every `statistics.interval.ms`, read for what is shown of them.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What one client, or several together, have sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    pub messages: u64,
    pub message_bytes: u64,
    /// By the broker's name.
    pub brokers: BTreeMap<String, Broker>,
}

/// What was sent to one broker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Broker {
    pub requests: u64,
    pub bytes: u64,
    /// The mean of the last interval, in milliseconds.
    pub rtt_ms: f64,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Written {
    txmsgs: u64,
    txmsg_bytes: u64,
    brokers: BTreeMap<String, WrittenBroker>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenBroker {
    nodename: String,
    nodeid: i64,
    tx: u64,
    txbytes: u64,
    rtt: Window,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Window {
    /// Microseconds.
    avg: f64,
}

impl Statistics {
    /// Reads one client's; what is not understood counts as nothing.
    pub fn read(text: &str) -> Self {
        let written: Written = serde_json::from_str(text).unwrap_or_default();
        let known = written.brokers.into_iter();
        // Bootstrap entries have no number; they become one of the others.
        let known = known.filter(|(_, broker)| 0 <= broker.nodeid);
        let broker = |(name, broker): (String, WrittenBroker)| {
            let named = !broker.nodename.is_empty();
            let name = if named { broker.nodename } else { name };
            let sent = Broker {
                requests: broker.tx,
                bytes: broker.txbytes,
                rtt_ms: broker.rtt.avg / 1_000.0,
            };
            (name, sent)
        };
        Self {
            messages: written.txmsgs,
            message_bytes: written.txmsg_bytes,
            brokers: known.map(broker).collect(),
        }
    }

    /// Adds another client's; of the times to a broker, the longest counts.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.message_bytes += other.message_bytes;
        for (name, sent) in &other.brokers {
            let sum = self.brokers.entry(name.clone()).or_default();
            sum.requests += sent.requests;
            sum.bytes += sent.bytes;
            sum.rtt_ms = sum.rtt_ms.max(sent.rtt_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"txmsgs":5,"txmsg_bytes":70,"new":[1],"brokers":{
        "127.0.0.1:9/bootstrap":{"nodeid":-1,"nodename":"127.0.0.1:9","tx":3,"txbytes":9},
        "127.0.0.1:9/1":{"nodeid":1,"nodename":"127.0.0.1:9","tx":7,"txbytes":90,"rtt":{"avg":1500}}}}"#;

    #[test]
    fn clients_are_added_up_by_broker() {
        let mut sum = Statistics::read(TEXT);
        sum.add(&Statistics::read(TEXT));
        assert_eq!((sum.messages, sum.message_bytes), (10, 140));
        let wanted = Broker {
            requests: 14,
            bytes: 180,
            rtt_ms: 1.5,
        };
        assert_eq!(
            sum.brokers,
            BTreeMap::from([("127.0.0.1:9".to_owned(), wanted)])
        );
    }

    #[test]
    fn what_is_no_json_counts_as_nothing() {
        assert_eq!(Statistics::read("{"), Statistics::default());
    }
}
