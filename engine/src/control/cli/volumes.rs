//! `ringtail volumes`.

use super::ask::{Error, ask};
use crate::control::exit::Exit;
use crate::control::volumes::Overview;
use clap::Args;
use std::time::Duration;

/// Show the volumes of a running engine: which are in service, which are being rebuilt, when they were last
/// checked, and what the loss of each would mean now.
///
/// Exit code 1 when not every volume is in service, or damage was found that no copy could repair.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The engine's admin port.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9090")]
    admin: String,
    /// Print the answer as JSON, as `GET /volumes` gives it.
    #[arg(long)]
    json: bool,
}

/// Longer than the engine waits for its shards.
const WAIT: Duration = Duration::from_secs(10);
impl Arguments {
    pub(super) fn run(self) -> Exit {
        match self.show() {
            Ok(true) => Exit::Fine,
            Ok(false) => Exit::Failed,
            Err(error) => Exit::Failed.because(&error),
        }
    }

    /// Whether all is well.
    fn show(&self) -> Result<bool, Error> {
        let body = ask(&self.admin, ("GET", "/volumes", ""), &["200"], WAIT)?;
        let seen: Overview = serde_json::from_str(&body).map_err(|source| Error::Answer {
            admin: self.admin.clone(),
            source,
        })?;
        if self.json {
            println!("{}", body.trim());
        } else {
            print!("{seen}");
        }
        let in_service = seen.volumes.iter().all(|row| row.state == "in-service");
        Ok(in_service && seen.pieces_lost == 0)
    }
}
