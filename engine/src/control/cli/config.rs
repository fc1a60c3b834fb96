//! `ringtail config`.

use super::configured::Configured;
use crate::control::config::{self, Configuration};
use crate::control::exit::Exit;
use clap::Args;
use std::io::{self, Write};

/// Print the configuration that `serve` would run with: key, value, origin.
///
/// Takes the same file, environment and flags as `serve` and checks all of them; exit code 2 and
/// one line when something is wrong.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// Print an example file with every key and its default instead.
    #[arg(long)]
    example: bool,
    /// Explain one key instead, by its name or by a variable's.
    #[arg(long, value_name = "NAME", conflicts_with = "example")]
    explain: Option<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Exit {
        if self.example {
            return print(&config::example());
        }
        if let Some(name) = &self.explain {
            let resolved = self.configured.resolve();
            return match resolved.and_then(|found| found.explain(name)) {
                Ok(text) => print(&text),
                Err(error) => Exit::Usage.because(&error),
            };
        }
        match self.configured.resolve().and_then(checked) {
            Ok(found) => {
                for notice in &found.notices {
                    eprintln!("ringtail: {notice}");
                }
                print(&found.to_string())
            }
            Err(error) => Exit::Usage.because(&error),
        }
    }
}

/// What only shows when the keys are read together is an error here too.
fn checked(found: Configuration) -> Result<Configuration, config::Error> {
    found.settings()?;
    Ok(found)
}

fn print(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Fine,
        Err(error) => Exit::Failed.because(&error),
    }
}
