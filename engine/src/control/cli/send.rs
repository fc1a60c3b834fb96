//! `ringtail send`.

use crate::control::exit::Exit;
use crate::control::send::{self, Options};
use clap::Args;

/// Send events to a running engine: lines of standard input, or generated ones.
///
/// Opens one WebSocket, sends batches with several of them unanswered at a time, shows the progress
/// and prints a summary of the answers. Exit code 1 when any batch was refused or not answered.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Where to, such as ws://localhost:8080/api/v1/events.
    #[arg(long, value_name = "URL")]
    url: String,
    /// Type of every event; the topic follows from it.
    #[arg(long = "type", value_name = "T")]
    kind: String,
    /// Generate this many events instead of reading lines.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Events in one batch.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Batches that may be unanswered at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    window: u32,
    /// Bytes of each generated event.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    size: u32,
    /// Header that carries the connection's id.
    #[arg(long, value_name = "NAME", default_value = "X-User-ID")]
    id_header: String,
    /// The connection's id; by default one that no other run has.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Exit {
        let options = Options {
            url: self.url,
            kind: self.kind,
            count: self.count,
            batch_events: self.batch as usize,
            window_batches: self.window as usize,
            event_bytes: self.size as usize,
            id_header: self.id_header,
            id: self.id,
        };
        match send::run(&options) {
            Ok(summary) => {
                print!("{summary}");
                if summary.is_clean() {
                    Exit::Fine
                } else {
                    Exit::Failed
                }
            }
            Err(error @ send::Error::Usage { .. }) => Exit::Usage.because(&error),
            Err(error) => Exit::Failed.because(&error),
        }
    }
}
