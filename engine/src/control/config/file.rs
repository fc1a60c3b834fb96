//! The TOML file as a layer.

use super::client::Properties;
use super::{Entry, Error, Origin, key, quoted};
use std::path::Path;

/// Longest configuration file that is read, in bytes; the example has less than a hundredth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Puts what the file says over `entries`.
pub(super) fn apply(
    path: &Path,
    entries: &mut [Entry],
    properties: &mut Properties,
) -> Result<(), Error> {
    let file = path.display().to_string();
    let text = read(path).map_err(|source| Error::Unreadable {
        file: file.clone(),
        source,
    })?;
    let table: toml::Table = text.parse().map_err(|error| syntax(&file, &text, &error))?;
    walk((&file, ""), &table, entries, properties)
}

pub(super) fn read(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if FILE_BYTES_MAX < bytes {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    std::fs::read_to_string(path)
}

fn syntax(file: &str, text: &str, error: &toml::de::Error) -> Error {
    let before = error.span().and_then(|span| text.get(..span.start));
    Error::Syntax {
        file: file.to_owned(),
        line: before.unwrap_or_default().matches('\n').count() + 1,
        // Parsers speak in several lines; operators grep for one.
        message: error.message().lines().collect::<Vec<_>>().join("; "),
        language: "TOML",
    }
}

/// Visits each value by its dotted name. Depth is bounded by the parser.
fn walk(
    (file, prefix): (&str, &str),
    table: &toml::Table,
    entries: &mut [Entry],
    properties: &mut Properties,
) -> Result<(), Error> {
    for (part, value) in table {
        let name = format!("{prefix}{part}");
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key.name == name) {
            entry.set_toml(value, Origin::File(file.to_owned()))?;
        } else if let toml::Value::Table(inner) = value {
            walk((file, &format!("{name}.")), inner, entries, properties)?;
        } else if properties.set_key(&name, &text(value), Origin::File(file.to_owned()))? {
            // Every property of librdkafka's is known.
        } else {
            return Err(Error::UnknownKey {
                nearest: super::nearest(&name, key::keys().map(|key| key.name)),
                name,
                value: quoted(&value.to_string()),
                origin: Origin::File(file.to_owned()),
            });
        }
    }
    Ok(())
}

/// A value as librdkafka takes it.
fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
