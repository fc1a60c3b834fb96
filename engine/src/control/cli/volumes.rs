//! `ringtail volumes`.

use crate::control::exit::Exit;
use crate::control::volumes::Overview;
use clap::Args;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
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
/// Far more than sixteen volumes take.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot ask {admin}: {source} (is the engine running, and is this its admin port?)")]
    Ask { admin: String, source: io::Error },
    #[error("{admin} answered {status}: {body}")]
    Refused {
        admin: String,
        status: String,
        body: String,
    },
    #[error("{admin} answered what is not an overview of volumes: {source}")]
    Answer {
        admin: String,
        source: serde_json::Error,
    },
}

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
        let admin = || self.admin.clone();
        let (status, body) = get(&self.admin, "/volumes").map_err(|source| Error::Ask {
            admin: admin(),
            source,
        })?;
        if status != "200" {
            let body = body.trim().to_owned();
            return Err(Error::Refused {
                admin: admin(),
                status,
                body,
            });
        }
        let seen: Overview = serde_json::from_str(&body).map_err(|source| Error::Answer {
            admin: admin(),
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

/// Status and body of one GET. One question needs no client of its own.
fn get(address: &str, path: &str) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).ok_or_else(broken)?;
    Ok((status.to_owned(), body.to_owned()))
}
