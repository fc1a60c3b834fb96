//! The example file: every key with its sentence, its variables and its default.
//!
//! `deploy/ringtail.toml` is this text; a test holds it so.

use super::key::{Key, keys};
use std::fmt::Write;

const HEAD: &str = "\
# Ringtail's configuration: every key with its default.
#
# A value is taken from, in this order: a flag, an environment variable, this file, the default.
# `ringtail config --config FILE` prints what that comes to, and where each value comes from.
";

/// The whole file.
pub(crate) fn text() -> String {
    let mut out = HEAD.to_owned();
    let mut table = "";
    for key in keys() {
        let (inside, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if inside != table {
            table = inside;
            let _ = write!(out, "\n[{table}]\n");
        }
        row(&mut out, key, name);
    }
    out
}

fn row(out: &mut String, key: &Key, name: &str) {
    let variables = key.variables.join(", ");
    let value = key.default_value();
    let value = if key.takes_empty() {
        "\"\"".to_owned()
    } else {
        value.to_toml()
    };
    let _ = write!(out, "# {} ({variables})\n{name} = {value}\n", key.sentence);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::{Configuration, Layers, Origin};
    use std::path::PathBuf;

    fn path() -> PathBuf {
        PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/ringtail.toml"
        ))
    }

    /// To write it anew: `ringtail config --example > deploy/ringtail.toml`.
    #[test]
    fn the_example_file_is_the_table_of_keys() {
        assert_eq!(std::fs::read_to_string(path()).unwrap(), text());
    }

    #[test]
    fn the_example_file_changes_nothing() {
        let layers = Layers {
            file: Some(path()),
            ..Layers::default()
        };
        let read = Configuration::resolve(layers).unwrap();
        let plain = Configuration::resolve(Layers::default()).unwrap();
        for (one, other) in read.entries.iter().zip(&plain.entries) {
            assert_eq!(one.value, other.value, "{}", one.key.name);
            assert!(matches!(one.origin, Origin::File(_)), "{}", one.key.name);
        }
    }
}
