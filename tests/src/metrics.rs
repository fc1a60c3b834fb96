//! The metrics page, read.

use crate::server::Server;

/// One line of the page that is not a comment.
#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Sample {
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads the whole page.
///
/// # Panics
/// When it is not Prometheus text.
pub fn page(server: &Server) -> Vec<Sample> {
    let answer = server.ask("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}")))
        .collect()
}

/// The sum of all samples of one name for which `wanted` holds.
pub fn sum(page: &[Sample], name: &str, wanted: impl Fn(&Sample) -> bool) -> f64 {
    let of_name = page.iter().filter(|sample| sample.name == name);
    of_name
        .filter(|sample| wanted(sample))
        .map(|sample| sample.value)
        .sum()
}

fn sample(line: &str) -> Option<Sample> {
    let (what, value) = line.rsplit_once(' ')?;
    let (name, labels) = match what.split_once('{') {
        None => (what, Vec::new()),
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// Labels whose values hold no escaped quote; the promises use no others.
fn labels(text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        labels.push((name.to_owned(), value.to_owned()));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(labels)
}

#[test]
fn a_sample_is_read_with_its_labels() {
    let read = sample(r#"x_total{shard="1",topic="a,b"} 12"#).expect("it is one");
    assert_eq!(
        (read.name.as_str(), read.label("topic")),
        ("x_total", Some("a,b"))
    );
    assert!((read.value - 12.0).abs() < f64::EPSILON);
    assert!(sample("no number").is_none());
}
