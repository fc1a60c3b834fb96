//! `log topics`: every topic with the readable range of each of its partitions.

use super::super::journal::Extent;
use super::volume::{Contents, Volume, id_text};
use super::{Error, Format, Options};
use crate::unit::{JournalId, TopicId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;

/// The names of a store's topics. The catalogue says them; where it cannot, the segments do.
pub(super) struct Names {
    by_id: HashMap<TopicId, String>,
    deleted: BTreeSet<TopicId>,
    /// The catalogue could be read.
    pub(super) clean: bool,
}

impl Names {
    pub(super) fn read(volume: &Volume) -> Result<Self, Error> {
        let catalogue = volume.catalogue()?;
        Ok(Self {
            clean: catalogue.refused.is_none(),
            by_id: catalogue.names,
            deleted: catalogue.deleted,
        })
    }

    pub(super) fn learn(&mut self, journal: &Contents) {
        for (topic, name) in &journal.names {
            if self.is_deleted(*topic) {
                continue;
            }
            self.by_id.entry(*topic).or_insert_with(|| name.clone());
        }
    }

    pub(super) fn is_deleted(&self, topic: TopicId) -> bool {
        self.deleted.contains(&topic)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.by_id.values().any(|known| known == name)
    }

    /// The name, or the id where nothing names the topic.
    pub(super) fn of(&self, topic: TopicId) -> String {
        let name = self.by_id.get(&topic).cloned();
        name.unwrap_or_else(|| id_text(topic))
    }
}

#[derive(Serialize)]
struct Row {
    name: String,
    id: String,
    partition: u32,
    /// The low watermark.
    first: u64,
    next: u64,
}

pub(super) fn run(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    let volume = Volume::first(&options.volumes)?;
    let mut names = Names::read(&volume)?;
    let mut extents: BTreeMap<(TopicId, JournalId), Extent> = BTreeMap::new();
    let journals = volume.journals(options.partition)?;
    for journal in &journals {
        let contents = volume.journal(*journal)?;
        names.learn(&contents);
        if let Some(refused) = contents.refused {
            return Err(volume.refused(refused));
        }
        let found = contents.extents.into_iter();
        let found = found.filter(|(topic, _)| !names.is_deleted(*topic));
        extents.extend(found.map(|(topic, extent)| ((topic, *journal), extent)));
    }
    // A spread topic has a partition in every journal, also where it has no record yet.
    for (topic, journal) in names
        .by_id
        .keys()
        .flat_map(|topic| journals.iter().map(|journal| (*topic, *journal)))
    {
        extents.entry((topic, journal)).or_default();
    }
    let rows = rows(&names, extents, options.topic.as_deref());
    if let (Some(topic), true) = (&options.topic, rows.is_empty()) {
        return Err(Error::NoTopic(topic.clone()));
    }
    print(&rows, options.format, out).map_err(Error::Output)?;
    Ok(names.clean)
}

fn rows(
    names: &Names,
    extents: BTreeMap<(TopicId, JournalId), Extent>,
    wanted: Option<&str>,
) -> Vec<Row> {
    let rows = extents.into_iter().map(|((topic, journal), extent)| Row {
        name: names.of(topic),
        id: id_text(topic),
        partition: journal.0,
        first: extent.low.0,
        next: extent.next.0,
    });
    let mut rows: Vec<_> = rows
        .filter(|row| wanted.is_none_or(|wanted| wanted == row.name))
        .collect();
    rows.sort_by(|one, two| {
        (&one.name, &one.id, one.partition).cmp(&(&two.name, &two.id, two.partition))
    });
    rows
}

fn print(rows: &[Row], format: Format, out: &mut dyn Write) -> std::io::Result<()> {
    if format == Format::Json {
        for row in rows {
            serde_json::to_writer(&mut *out, row)?;
            out.write_all(b"\n")?;
        }
        return out.flush();
    }
    let widest = rows.iter().map(|row| row.name.chars().count()).max();
    let width = widest.unwrap_or(0).max("topic".len());
    writeln!(
        out,
        "{:width$}  {:>9}  {:>12}  {:>12}  id",
        "topic", "partition", "first", "next"
    )?;
    for row in rows {
        let Row {
            name,
            id,
            partition,
            first,
            next,
        } = row;
        writeln!(
            out,
            "{name:width$}  {partition:>9}  {first:>12}  {next:>12}  {id}"
        )?;
    }
    out.flush()
}
