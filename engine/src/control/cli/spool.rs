//! `ringtail spool`: what an operator does about events that wait for Kafka.

use crate::control::exit::Exit;
use clap::{Args, Subcommand};

mod adopt;
mod retry;

/// Set right what a spool cannot set right by itself.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    Adopt(adopt::Arguments),
    Retry(retry::Arguments),
}

impl Arguments {
    pub(super) fn run(self) -> Exit {
        match self.work {
            Work::Adopt(arguments) => arguments.run(),
            Work::Retry(arguments) => arguments.run(),
        }
    }
}
