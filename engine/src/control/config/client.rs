//! librdkafka's properties as operators write them: any of them, in every layer, each checked where it stands.
//!
//! `PUBLISHER_KAFKA_CLIENT_LINGER_MS`, `publisher.kafka.client.linger_ms` in a file and behind `--set`, and
//! Raccoon's `config.yaml` all mean librdkafka's `linger.ms`.

use super::{Error, Origin, quoted};
use crate::kafka::Property;
use crate::kafka::properties;
use std::fmt::Write as _;

/// How the variables start.
pub(super) const VARIABLE: &str = "PUBLISHER_KAFKA_CLIENT_";
/// How the keys start.
pub(super) const KEY: &str = "publisher.kafka.client.";
/// Properties of the Go client that Raccoon was built with; librdkafka knows none of them.
const GOS: &str = "go.";
/// Parts of names whose values are nobody's business.
const SECRETS: [&str; 4] = ["password", "secret", "pem", "oauthbearer.config"];

/// One property with where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) property: Property,
    pub(super) origin: Origin,
}

/// All that were given, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Properties(Vec<Given>);

impl Properties {
    /// Takes a variable if it is one of these.
    pub(super) fn set_variable(
        &mut self,
        variable: &str,
        value: &str,
        origin: Origin,
    ) -> Result<bool, Error> {
        match variable.strip_prefix(VARIABLE) {
            Some(name) => self.set(&name.to_lowercase(), value, origin),
            None => Ok(false),
        }
    }

    /// Takes a key if it is one of these.
    pub(super) fn set_key(
        &mut self,
        key: &str,
        value: &str,
        origin: Origin,
    ) -> Result<bool, Error> {
        match key.strip_prefix(KEY) {
            Some(name) => self.set(name, value, origin),
            None => Ok(false),
        }
    }

    fn set(&mut self, name: &str, value: &str, origin: Origin) -> Result<bool, Error> {
        let name = name.replace('_', ".");
        if name.starts_with(GOS) {
            return Ok(true);
        }
        if let Err(reason) = properties::check(&name, value) {
            return Err(Error::Property {
                value: shown(&name, value),
                name: format!("{KEY}{name}"),
                origin,
                reason,
            });
        }
        self.0.retain(|given| *given.property.name != *name);
        let (name, value) = (name.into(), value.into());
        let property = Property { name, value };
        self.0.push(Given { property, origin });
        Ok(true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn plain(&self) -> Vec<Property> {
        self.0.iter().map(|given| given.property.clone()).collect()
    }

    /// Whether there is a broker to begin with.
    pub(super) fn names_brokers(&self) -> bool {
        properties::find(&self.plain(), "bootstrap.servers").is_some_and(|list| !list.is_empty())
    }

    /// Key, value and origin of each, for people to read.
    pub(super) fn rows(&self) -> impl Iterator<Item = (String, String, &Origin)> {
        self.0.iter().map(|Given { property, origin }| {
            let value = shown(&property.name, &property.value);
            (format!("{KEY}{}", property.name), value, origin)
        })
    }

    /// Whether a property has this name, or this variable or key, in any case and spelling; what it is then.
    pub(super) fn explain(&self, wanted: &str) -> Option<String> {
        let wanted = wanted.to_lowercase().replace(['_', '-'], ".");
        let name = wanted.strip_prefix(KEY)?;
        let given = self.0.iter().find(|given| *given.property.name == *name);
        // What was given is known, though some of them have no default.
        let default = properties::default(name).or(given.map(|_| String::new()))?;
        let now = given.map_or_else(
            || format!("{} (default)", shown(name, &default)),
            |given| format!("{} ({})", shown(name, &given.property.value), given.origin),
        );
        let variable = name.to_uppercase().replace('.', "_");
        let mut text =
            format!("{KEY}{name}\n  librdkafka's {name}; its manual says what it does.\n");
        let _never_fails = write!(
            text,
            "  {:<12}{}\n  {:<12}{now}\n  {:<12}{VARIABLE}{variable}\n",
            "default",
            shown(name, &default),
            "now",
            "in Raccoon",
        );
        Some(text)
    }

    /// What is to be said of them at start.
    pub(super) fn notices(&self, for_spool: bool) -> Vec<String> {
        let plain = self.plain();
        let remarks = if for_spool {
            properties::impatient(&plain)
        } else {
            properties::remarks(&plain)
        };
        let remarks = remarks.into_iter();
        let line = |(name, remark): (Box<str>, String)| {
            let given = self.0.iter().find(|given| given.property.name == name);
            let origin = given.map_or_else(String::new, |given| format!(" ({})", given.origin));
            format!("{KEY}{name}{origin}: {remark}")
        };
        remarks.map(line).collect()
    }
}

fn shown(name: &str, value: &str) -> String {
    if SECRETS.iter().any(|secret| name.contains(secret)) && !value.is_empty() {
        return "(hidden)".to_owned();
    }
    quoted(value)
}

#[cfg(test)]
mod tests {
    use super::super::{Configuration, Layers};
    use super::*;

    fn read(variables: &[(&str, &str)], sets: &[&str]) -> Result<Configuration, Error> {
        let variable = |(name, value): &(&str, &str)| (name.into(), value.into());
        Configuration::resolve(Layers {
            environment: variables.iter().map(variable).collect(),
            sets: sets.iter().map(ToString::to_string).collect(),
            ..Layers::default()
        })
    }

    #[test]
    fn every_property_passes_through_and_the_later_layer_wins() {
        let variables = [
            ("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", "b:9092"),
            ("PUBLISHER_KAFKA_CLIENT_LINGER_MS", "7"),
            ("PUBLISHER_KAFKA_CLIENT_GO_BATCH_PRODUCER", "true"),
        ];
        let found = read(&variables, &["publisher.kafka.client.linger_ms=9"]).unwrap();
        let kafka = found.settings().unwrap().shard.kafka.unwrap();
        let find = |name| properties::find(&kafka.properties, name);
        assert_eq!(find("linger.ms"), Some("9"));
        assert_eq!(find("bootstrap.servers"), Some("b:9092"));
        assert_eq!(kafka.properties.len(), 2);
        let text = found.to_string();
        assert!(text.contains("publisher.kafka.client.linger.ms"), "{text}");
    }

    #[test]
    fn a_value_that_librdkafka_refuses_is_told_with_its_variable() {
        let wrong = read(&[("PUBLISHER_KAFKA_CLIENT_LINGER_MS", "soon")], &[]);
        let wrong = wrong.unwrap_err().to_string();
        let wanted = "publisher.kafka.client.linger.ms = \"soon\" \
                      (environment variable PUBLISHER_KAFKA_CLIENT_LINGER_MS): librdkafka says: ";
        assert!(wrong.starts_with(wanted), "{wrong}");
        let unknown = read(&[], &["publisher.kafka.client.lingr_ms=1"]).unwrap_err();
        assert!(unknown.to_string().contains("lingr.ms"), "{unknown}");
    }

    #[test]
    fn a_secret_is_shown_to_nobody() {
        let variables = [("PUBLISHER_KAFKA_CLIENT_SASL_PASSWORD", "hush")];
        let found = read(&variables, &[]).unwrap();
        let text = found.to_string() + &found.explain(variables[0].0).unwrap();
        assert!(
            !text.contains("hush") && text.contains("(hidden)"),
            "{text}"
        );
    }

    #[test]
    fn brokers_make_kafka_the_publisher_and_kafka_wants_brokers() {
        let plain = read(&[], &[]).unwrap().settings().unwrap();
        assert!(plain.shard.kafka.is_none());
        let brokers = ("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", "b:9092");
        let found = read(&[brokers], &[]).unwrap().settings().unwrap();
        assert!(found.shard.kafka.is_some());
        let journal = read(&[brokers, ("PUBLISHER_TYPE", "journal")], &[]).unwrap();
        assert!(journal.settings().unwrap().shard.kafka.is_none());
        assert!(journal.notices[0].contains("publisher.type is journal"));
        let none = read(&[("PUBLISHER_TYPE", "kafka")], &[]).unwrap();
        let refused = none.settings().unwrap_err().to_string();
        assert!(
            refused.contains("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS"),
            "{refused}"
        );
    }

    #[test]
    fn a_property_is_explained_by_any_of_its_names() {
        let variables = [
            ("PUBLISHER_KAFKA_CLIENT_ACKS", "1"),
            ("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", "b:9092"),
        ];
        let found = read(&variables, &[]).unwrap();
        let told = found.explain("PUBLISHER_KAFKA_CLIENT_ACKS").unwrap();
        assert!(told.contains("\"1\" (environment variable"), "{told}");
        assert_eq!(found.explain("publisher.kafka.client.acks").unwrap(), told);
        assert!(found.explain("publisher.kafka.client.nonsense").is_err());
        assert!(found.notices[0].contains("acks"), "{:?}", found.notices);
    }
}
