//! Raccoon's YAML file as a layer: nested keys joined by `_` are the names of its variables.
//!
//! `server: { grpc: { port: 8081 } }` says what `SERVER_GRPC_PORT=8081` says, and Ringtail's own
//! variables can stand in the file in the same way. What Raccoon would overlook is overlooked here too,
//! and named once at start.

use super::client::Properties;
use super::{Entry, Error, Origin, key, raccoon};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use std::path::Path;

/// What a file has that is no key here.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Raccoon's variables that have no effect.
    pub(super) without_effect: Vec<String>,
    /// A line for each name that nobody knows.
    pub(super) notices: Vec<String>,
}

/// Whether the file is YAML, by its name.
pub(super) fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml"))
}

/// Puts what the file says over `entries`.
pub(super) fn apply(
    path: &Path,
    entries: &mut [Entry],
    properties: &mut Properties,
) -> Result<Rest, Error> {
    let file = path.display().to_string();
    let text = super::file::read(path).map_err(|source| Error::Unreadable {
        file: file.clone(),
        source,
    })?;
    let mut rest = Rest::default();
    for (variable, value) in variables(&file, &text)? {
        let named = |entry: &&mut Entry| entry.key.variables.contains(&variable.as_str());
        if let Some(entry) = entries.iter_mut().find(named) {
            entry.set_text(&value, Origin::File(file.clone()))?;
        } else if properties.set_variable(&variable, &value, Origin::File(file.clone()))? {
            // Every property of librdkafka's is known.
        } else if raccoon::is_known(&variable) {
            rest.without_effect.push(variable);
        } else {
            let known = key::keys().flat_map(|key| key.variables).copied();
            let hint = super::nearest(&variable, known);
            let hint = hint.map_or_else(String::new, |name| format!("; did you mean {name}?"));
            let name = super::cut(&variable);
            rest.notices.push(format!(
                "{file}: nothing is known of {name}, so it is ignored{hint}"
            ));
        }
    }
    Ok(rest)
}

/// Every value of the file by the name of its variable, in the order of the file.
fn variables(file: &str, text: &str) -> Result<Vec<(String, String)>, Error> {
    let syntax = |line, message: &str| Error::Syntax {
        file: file.to_owned(),
        line,
        message: message.lines().collect::<Vec<_>>().join("; "),
        language: "YAML",
    };
    let documents =
        Yaml::load_from_str(text).map_err(|error| syntax(error.marker().line(), error.info()))?;
    let mut found = Vec::new();
    match &documents[..] {
        [] => {}
        [document] => {
            if let Err(name) = walk("", document, &mut found) {
                let message = format!("{name} is neither a value nor a list of values");
                return Err(syntax(1, &message));
            }
        }
        _ => return Err(syntax(1, "the file has more than one document")),
    }
    Ok(found)
}

/// Visits each value under the name that leads to it; the error is the name of what has no text.
/// Depth is bounded by the parser.
fn walk(name: &str, node: &Yaml<'_>, found: &mut Vec<(String, String)>) -> Result<(), String> {
    if let Yaml::Mapping(mapping) = node {
        for (part, value) in mapping {
            let part = scalar(part).ok_or_else(|| name.to_owned())?;
            let part = part.to_uppercase().replace(['.', '-'], "_");
            let inner = if name.is_empty() {
                part
            } else {
                format!("{name}_{part}")
            };
            walk(&inner, value, found)?;
        }
        return Ok(());
    }
    let text = match node {
        Yaml::Sequence(items) => {
            let items: Option<Vec<String>> = items.iter().map(scalar).collect();
            items.map(|items| items.join(","))
        }
        value => scalar(value),
    };
    let text = text.ok_or_else(|| name.to_owned())?;
    // Nothing counts as unset, as an empty variable does.
    if !text.is_empty() && !name.is_empty() {
        found.push((name.to_owned(), text));
    }
    Ok(())
}

fn scalar(node: &Yaml<'_>) -> Option<String> {
    let Yaml::Value(value) = node else {
        return None;
    };
    Some(match value {
        Scalar::Null => String::new(),
        Scalar::Boolean(on) => on.to_string(),
        Scalar::Integer(number) => number.to_string(),
        Scalar::FloatingPoint(number) => number.to_string(),
        Scalar::String(text) => text.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        variables("config.yaml", text).unwrap()
    }

    #[test]
    fn nested_keys_are_the_names_of_variables() {
        let text = "\
server:
  websocket:
    port: 8080
    conn_id_header: X-User-ID
    check_origin: true
    conn_group_header:
  cors: { allowed_origin: [http://a, http://b] }
event.ack: 1
publisher:
  kafka:
    client:
      bootstrap_servers: \"b:9092\"
RINGTAIL_LOG_VOLUMES: /a
";
        let wanted = [
            ("SERVER_WEBSOCKET_PORT", "8080"),
            ("SERVER_WEBSOCKET_CONN_ID_HEADER", "X-User-ID"),
            ("SERVER_WEBSOCKET_CHECK_ORIGIN", "true"),
            ("SERVER_CORS_ALLOWED_ORIGIN", "http://a,http://b"),
            ("EVENT_ACK", "1"),
            ("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", "b:9092"),
            ("RINGTAIL_LOG_VOLUMES", "/a"),
        ];
        let found = read(text);
        assert!(
            found
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .eq(wanted)
        );
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for text in ["", "# nothing\n", "---\n", "~"] {
            assert!(read(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_file_of_settings_is_refused_with_the_line() {
        for text in [
            "a: [1\n",
            "a: {b: [[1]]}",
            "a: 1\n---\nb: 2\n",
            "? [a]\n: 1\n",
        ] {
            let refused = variables("config.yaml", text).unwrap_err().to_string();
            assert!(refused.starts_with("config.yaml, line "), "{refused}");
            assert!(refused.ends_with("(the file is YAML)"), "{refused}");
        }
    }

    /// For long: `cargo bolero test -p ringtail control::config::yaml::tests::any_text_is_answered`.
    #[test]
    fn any_text_is_answered() {
        bolero::check!()
            .with_type::<String>()
            .with_iterations(3_000)
            .for_each(|text| {
                let _answered = variables("config.yaml", text);
            });
    }
}
