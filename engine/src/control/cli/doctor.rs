//! `ringtail doctor`.

use super::configured::Configured;
use crate::control::{doctor, exit::Exit};
use clap::Args;
use std::io::{self, Write};

/// Say whether this host gives what the configuration needs, and what to change.
///
/// Takes the same file, environment and flags as `serve`. Each line is fine, slow (it costs
/// throughput or latency), wrong (it costs safety, or nothing starts) or unknown. Exit code 1 when
/// something is wrong. Changes nothing: `perf/tune.sh --apply` does.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// Print the names of the checks instead.
    #[arg(long)]
    list: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Exit {
        if self.list {
            return match io::stdout().write_all(doctor::names().as_bytes()) {
                Ok(()) => Exit::Fine,
                Err(error) => Exit::Failed.because(&error),
            };
        }
        let resolved = self.configured.resolve();
        match resolved.and_then(|found| found.settings()) {
            Ok(settings) => doctor::run(&settings),
            Err(error) => Exit::Usage.because(&error),
        }
    }
}
