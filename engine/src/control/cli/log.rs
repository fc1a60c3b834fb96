//! `ringtail log`: reading a store without serving it.

use crate::control::exit::Exit;
use crate::log::offline::{self, Format, Options};
use clap::{Args, Subcommand, ValueEnum};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

/// Read a store on the disk: stopped, killed, or (up to its durable mark) running.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// List topics: name, partition, first and next offset.
    Topics(Selection),
    /// Print records, oldest first.
    Cat(Selection),
    /// Check every checksum and the chain; prints one JSON line, exit code 1 if anything is damaged.
    Verify {
        #[command(flatten)]
        selection: Selection,
        /// Write the catalogue of topics anew from the segments that name them; only on a store that
        /// is not running.
        #[arg(long)]
        rebuild_catalogue: bool,
        /// Repair first: what is damaged on one volume and whole on another is written anew. Name all
        /// volumes; only on a store that is not running.
        #[arg(long, conflicts_with = "rebuild_catalogue")]
        repair: bool,
    },
}

#[derive(Args, Debug)]
struct Selection {
    /// The store's folders, as in log.volumes.
    #[arg(
        long,
        value_name = "DIR[,DIR…]",
        value_delimiter = ',',
        required = true
    )]
    volumes: Vec<PathBuf>,
    /// Only this topic.
    #[arg(long, value_name = "T")]
    topic: Option<String>,
    /// Only this partition.
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// Start at this offset of each partition.
    #[arg(long, value_name = "N")]
    offset: Option<u64>,
    /// Stop after this many records.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to print: text (for people), json (one object a line), raw (values alone).
    #[arg(long, value_enum, default_value_t = Shape::Text)]
    format: Shape,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    Text,
    Json,
    Raw,
}

impl From<Selection> for Options {
    fn from(selection: Selection) -> Self {
        Self {
            volumes: selection.volumes,
            topic: selection.topic,
            partition: selection.partition,
            offset: selection.offset,
            limit: selection.limit,
            format: match selection.format {
                Shape::Text => Format::Text,
                Shape::Json => Format::Json,
                Shape::Raw => Format::Raw,
            },
        }
    }
}

impl Arguments {
    pub(super) fn run(self) -> Exit {
        let mut out = BufWriter::new(io::stdout().lock());
        let done = match self.work {
            Work::Topics(selection) => offline::topics(&selection.into(), &mut out),
            Work::Cat(selection) => offline::cat(&selection.into(), &mut out),
            Work::Verify {
                selection,
                rebuild_catalogue: true,
                ..
            } => offline::rebuild_catalogue(&selection.volumes, &mut out),
            Work::Verify {
                selection,
                repair: true,
                ..
            } => offline::repair(&selection.into(), &mut out),
            Work::Verify { selection, .. } => offline::verify(&selection.into(), &mut out),
        };
        match (done, out.flush()) {
            // A reader such as `head` that has seen enough is no failure.
            (Ok(_), Err(error)) if error.kind() == ErrorKind::BrokenPipe => Exit::Fine,
            (Ok(_), Err(error)) => Exit::Failed.because(&error),
            (Ok(true), Ok(())) => Exit::Fine,
            (Ok(false), Ok(())) => Exit::Failed,
            (Err(error), _) => Exit::Failed.because(&error),
        }
    }
}
