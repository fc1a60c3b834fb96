//! One key, explained: what it does, what it takes, its names, and what it is now.

use super::{Configuration, Entry, Error, cut, key, nearest, raccoon};
use std::fmt::Write;

/// How a variable of Ringtail's own starts; the others are Raccoon's.
const OURS: &str = "RINGTAIL_";

impl Configuration {
    /// Explains a key by its name, or by the name of one of its variables, in any case.
    pub(crate) fn explain(&self, name: &str) -> Result<String, Error> {
        let wanted = name.trim();
        let is = |known: &str| known.eq_ignore_ascii_case(wanted);
        let found = self.entries.iter().find(|entry| {
            is(entry.key.name) || entry.key.variables.iter().any(|variable| is(variable))
        });
        if let Some(entry) = found {
            return Ok(text(entry));
        }
        if let Some(text) = self.properties.explain(wanted) {
            return Ok(text);
        }
        let variable = wanted.to_uppercase().replace(['.', '-'], "_");
        if let Some(reason) = raccoon::reason(&variable) {
            return Ok(format!("{}: Raccoon's, {reason}\n", cut(&variable)));
        }
        let variables = key::keys().flat_map(|key| key.variables).copied();
        let names = key::keys().map(|key| key.name).chain(variables);
        Err(Error::Unexplained {
            name: cut(wanted),
            nearest: nearest(wanted, names),
        })
    }
}

fn text(entry: &Entry) -> String {
    let key = entry.key;
    let mut out = format!("{}\n  {}\n", key.name, key.sentence);
    let mut row = |label: &str, value: &str| {
        let _never_fails = writeln!(out, "  {label:<12}{value}");
    };
    row("takes", &key.kind.bounds());
    row("default", &key.default_value().to_toml());
    row(
        "now",
        &format!("{} ({})", entry.value.to_toml(), entry.origin),
    );
    let variables = key.variables.iter().copied();
    let (ours, raccoons): (Vec<&str>, Vec<&str>) =
        variables.partition(|variable| variable.starts_with(OURS));
    if !ours.is_empty() {
        row("variable", &ours.join(", "));
    }
    for variable in raccoons {
        let nested = variable.to_lowercase();
        row(
            "in Raccoon",
            &format!("{variable} (config.yaml: {nested}, nested at any _)"),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Layers;
    use super::*;

    fn explain(name: &str) -> Result<String, Error> {
        let layers = Layers {
            environment: vec![("SERVER_GRPC_PORT".into(), "7070".into())],
            ..Layers::default()
        };
        Configuration::resolve(layers).unwrap().explain(name)
    }

    #[test]
    fn a_key_is_explained_by_any_of_its_names() {
        let told = explain("server.grpc.port").unwrap();
        for part in [
            "Port of gRPC",
            "a whole number from 0 to 65535",
            "default     8081",
            "now         7070 (environment variable SERVER_GRPC_PORT)",
            "in Raccoon  SERVER_GRPC_PORT",
        ] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        assert_eq!(explain("server_grpc_port").unwrap(), told);
        assert!(
            explain("RINGTAIL_SHARDS")
                .unwrap()
                .contains("variable    RINGTAIL_SHARDS")
        );
    }

    #[test]
    fn a_variable_without_effect_is_explained_by_its_reason() {
        let told = explain("worker.pool_size").unwrap();
        assert!(
            told.starts_with("WORKER_POOL_SIZE: Raccoon's, ignored, because"),
            "{told}"
        );
    }

    #[test]
    fn every_key_can_be_explained() {
        for key in key::keys() {
            for name in key.variables.iter().chain([&key.name]) {
                assert!(explain(name).unwrap().contains(key.sentence), "{name}");
            }
        }
    }

    #[test]
    fn a_stranger_is_told_the_nearest_name() {
        let refused = explain("server.grpc.prt").unwrap_err().to_string();
        let wanted = "nothing is known of server.grpc.prt; did you mean server.grpc.port?";
        assert_eq!(refused, wanted);
    }
}
