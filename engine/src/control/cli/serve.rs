//! `ringtail serve`.

use super::configured::Configured;
use crate::control::{boot, exit::Exit, house::Allowances};
use clap::Args;

/// Take events, write them to the log, answer.
///
/// Runs until it gets INT, TERM, HUP or QUIT; then it stops accepting, answers what is in hand,
/// seals its log and ends. A second signal ends it at once.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// Start although this volume (its folder, or its number) is gone for good; may be given several times.
    /// What only it held is lost.
    #[arg(long, value_name = "DIR|NUMBER")]
    without: Vec<String>,
    /// Start although acknowledged events are damaged on every volume; their loss is recorded in the log.
    #[arg(long)]
    accept_loss: bool,
}

const HELP: &str = "\
Every key can also be set in the TOML file or by an environment variable; Raccoon's variables keep
their names. `ringtail config` prints all keys with their values and where each comes from.";

impl Arguments {
    pub(super) fn run(self) -> Exit {
        let resolved = self.configured.resolve();
        let read = resolved.and_then(|found| Ok((found.settings()?, found.notices)));
        match read {
            Ok((settings, notices)) => {
                let allowances = Allowances {
                    without: self.without,
                    accept_loss: self.accept_loss,
                };
                boot::serve(&settings, &notices, &allowances)
            }
            Err(error) => Exit::Usage.because(&error),
        }
    }
}
