//! Bounds by topic as people write them: tables in the TOML file, and one line in a variable, such as
//! `click-*:retention_age=7d,retention_bytes=1GiB;audit:retention_age=none`.

use super::size;
use crate::limit;
use crate::log::retention::{Bound, Rule, Wildcard};

pub(super) const WANTED: &str = "tables such as { pattern = \"click-*\", retention_age = \"7d\", \
    retention_bytes = \"1GiB\" }, or in a variable click-*:retention_age=7d,retention_bytes=1GiB, \
    separated by semicolons";

/// Suffixes and their milliseconds, the longest first.
const UNITS: [(&str, u64); 5] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

/// The milliseconds that `text` names: a whole number, at least one, and a unit.
pub(super) fn parse_age(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| 0 < *number)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.checked_mul(*factor)
}

/// The shortest exact way to write an age, which is whole seconds.
pub(super) fn show_age(age_ms: u64) -> String {
    let whole = |(_, factor): &&(&str, u64)| age_ms.is_multiple_of(*factor);
    let (unit, factor) = UNITS.iter().find(whole).unwrap_or(&UNITS[4]);
    format!("{}{unit}", age_ms / factor)
}

/// Reads the one line.
pub(super) fn parse(text: &str) -> Option<Vec<Rule>> {
    let parts = text.split(';').map(str::trim);
    let rules: Option<Vec<Rule>> = parts
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (pattern, bounds) = part.split_once(':')?;
            let mut rule = named(pattern.trim())?;
            for bound in bounds.split(',') {
                let (name, value) = bound.split_once('=')?;
                set(&mut rule, name.trim(), value.trim())?;
            }
            Some(rule)
        })
        .collect();
    rules.filter(|rules| rules.len() <= limit::TOPIC_RULES_MAX)
}

/// Reads one table.
pub(super) fn from_toml(value: &toml::Value) -> Option<Rule> {
    let table = value.as_table()?;
    let mut rule = named(table.get("pattern")?.as_str()?)?;
    for (name, value) in table.iter().filter(|(name, _)| *name != "pattern") {
        match value {
            toml::Value::String(text) => set(&mut rule, name, text)?,
            toml::Value::Integer(number) => set(&mut rule, name, &number.to_string())?,
            _ => return None,
        }
    }
    Some(rule)
}

fn named(pattern: &str) -> Option<Rule> {
    Some(Rule {
        pattern: Wildcard::parse(pattern)?,
        age_ms: Bound::Store,
        bytes: Bound::Store,
    })
}

fn set(rule: &mut Rule, name: &str, text: &str) -> Option<()> {
    let (bound, value) = match name {
        "retention_age" => (&mut rule.age_ms, parse_age(text)),
        "retention_bytes" => (&mut rule.bytes, size::parse(text)),
        _ => return None,
    };
    let doubled = *bound != Bound::Store;
    *bound = match text {
        "none" => Bound::None,
        _ => Bound::At(value?),
    };
    (!doubled).then_some(())
}

fn bounds(rule: &Rule) -> impl Iterator<Item = (&'static str, String)> {
    let shown = |bound, show: fn(u64) -> String| match bound {
        Bound::Store => None,
        Bound::None => Some("none".to_owned()),
        Bound::At(value) => Some(show(value)),
    };
    let age = shown(rule.age_ms, show_age).map(|age| ("retention_age", age));
    let bytes = shown(rule.bytes, size::show).map(|bytes| ("retention_bytes", bytes));
    age.into_iter().chain(bytes)
}

/// The one line.
pub(super) fn show(rules: &[Rule]) -> String {
    let one = |rule: &Rule| {
        let bounds = bounds(rule).map(|(name, value)| format!("{name}={value}"));
        let bounds: Vec<_> = bounds.collect();
        format!("{}:{}", rule.pattern.text(), bounds.join(","))
    };
    rules.iter().map(one).collect::<Vec<_>>().join(";")
}

/// The tables.
pub(super) fn to_toml(rules: &[Rule]) -> String {
    let one = |rule: &Rule| {
        let bounds = bounds(rule).map(|(name, value)| format!(", {name} = \"{value}\""));
        let bounds: String = bounds.collect();
        format!("{{ pattern = \"{}\"{bounds} }}", rule.pattern.text())
    };
    let tables: Vec<_> = rules.iter().map(one).collect();
    format!("[{}]", tables.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_as_people_write_them() {
        for (text, age_ms) in [("10s", 10_000), ("7d", 604_800_000), (" 90 m ", 5_400_000)] {
            assert_eq!(parse_age(text), Some(age_ms), "{text}");
            assert_eq!(parse_age(&show_age(age_ms)), Some(age_ms));
        }
        assert_eq!(show_age(604_800_000), "1w");
        for text in [
            "",
            "0s",
            "7",
            "7 days",
            "-1d",
            "1.5h",
            "d",
            "99999999999999999w",
        ] {
            assert_eq!(parse_age(text), None, "{text}");
        }
    }

    #[test]
    fn a_line_and_tables_say_the_same() {
        let line = "click-*:retention_age=1w,retention_bytes=1GiB;audit:retention_age=none";
        let rules = parse(line).unwrap();
        assert_eq!(show(&rules), line);
        let text = to_toml(&rules);
        let table: toml::Table = format!("topics = {text}").parse().unwrap();
        let tables = table["topics"].as_array().unwrap();
        let read: Option<Vec<Rule>> = tables.iter().map(from_toml).collect();
        assert_eq!(read, Some(rules));
        assert_eq!((parse(""), to_toml(&[])), (Some(Vec::new()), "[]".into()));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for line in [
            "click",
            "a b:retention_age=1d",
            ":retention_age=1d",
            "a:retention=1d",
            "a:retention_age=1",
            "a:retention_age=1d,retention_age=2d",
            "a:retention_bytes=-1",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
