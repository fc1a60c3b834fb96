//! The environment as a layer: Raccoon's names, ours, and those that only look like ours.

use super::client::Properties;
use super::{Entry, Error, Origin, key, quoted};
use std::ffi::OsString;

const OURS: &str = "RINGTAIL_";

/// Every variable of the environment, as text; what is not UTF-8 is kept with marks in it, and is
/// then refused by the key that it is for.
pub(super) fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
    let text = |os: OsString| os.to_string_lossy().into_owned();
    let mut all: Vec<_> = variables
        .map(|(name, value)| (text(name), text(value)))
        // An empty variable counts as unset: that is how compose files leave one out.
        .filter(|(name, value)| !value.is_empty() && !is_service_link(name, value))
        .collect();
    all.sort_unstable();
    all
}

/// Puts what the variables say over `entries`.
pub(super) fn apply(
    variables: &[(String, String)],
    entries: &mut [Entry],
    properties: &mut Properties,
) -> Result<(), Error> {
    for entry in entries.iter_mut() {
        let names = entry.key.variables.iter();
        let mut set = names.filter_map(|name| variables.iter().find(|(set, _)| set == name));
        if let Some((name, value)) = set.next() {
            entry.set_text(value, Origin::Variable(name.clone()))?;
        }
    }
    for (name, value) in variables {
        properties.set_variable(name, value, Origin::Variable(name.clone()))?;
        if name.starts_with(OURS) && !is_known(name) {
            return Err(Error::UnknownVariable {
                name: name.clone(),
                value: quoted(value),
                nearest: super::nearest(name, known()),
            });
        }
    }
    Ok(())
}

fn known() -> impl Iterator<Item = &'static str> {
    let variables = key::keys().flat_map(|key| key.variables);
    variables.copied().filter(|name| name.starts_with(OURS))
}

fn is_known(variable: &str) -> bool {
    known().any(|name| name == variable)
}

/// Whether an orchestrator made this variable for a service whose name happens to be ours:
/// Kubernetes and Docker set `RINGTAIL_PORT=tcp://10.0.0.1:8080` and its like in every container.
fn is_service_link(name: &str, value: &str) -> bool {
    let port = |protocol: &str| {
        let before = name.split_once(protocol).map(|(before, _)| before);
        let number = before.and_then(|before| before.rsplit_once("_PORT_"));
        number.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    };
    let address = ["tcp://", "udp://", "sctp://"];
    (name.ends_with("_PORT") && address.iter().any(|scheme| value.starts_with(scheme)))
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || ["_TCP", "_UDP", "_SCTP"].into_iter().any(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        read(
            variables
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    #[test]
    fn links_to_services_are_no_settings() {
        let links = [
            ("RINGTAIL_PORT", "tcp://10.0.0.1:8080"),
            ("RINGTAIL_ADMIN_PORT", "tcp://10.0.0.1:9090"),
            ("RINGTAIL_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("RINGTAIL_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("RINGTAIL_SERVICE_HOST", "10.0.0.1"),
            ("RINGTAIL_SERVICE_PORT_HTTP", "8080"),
        ];
        assert!(layer(&links).is_empty());
        assert_eq!(layer(&[("RINGTAIL_ADMIN_PORT", "9091")]).len(), 1);
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        assert!(layer(&[("RINGTAIL_SHARDS", "")]).is_empty());
    }
}
