//! A crowd that does nothing, and what the server's memory grew by.

use std::{
    io::{self, BufRead, BufReader},
    process::{Command, Stdio},
};

use super::stage::Server;
use crate::{Verdict, host};

/// Connections that come and go first, so that what a server takes once and keeps is not charged to
/// those that are measured.
const FIRST: &str = "100";

/// Opens and holds connections with the flags of `idle`; prints what one costs.
pub(super) fn hold(server: &Server, flags: &[String]) -> io::Result<Verdict> {
    let mut first = command(server)?;
    first.args(["--connections", FIRST, "--hold-seconds", "0"]);
    first.stdout(Stdio::null()).status()?;
    let before = resident(server);
    let mut child = command(server)?
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).lines();
    let mut open = 0_u64;
    let mut after = None;
    while let Some(line) = lines.next().transpose()? {
        println!("{}: {line}", server.name);
        if let Some(count) = line.strip_prefix("open ") {
            open = count.parse().unwrap_or(0);
            after = resident(server);
        }
    }
    let status = child.wait()?;
    if let (Some(before), Some(after)) = (before, after) {
        let each = after.saturating_sub(before) * 1024 / open.max(1);
        println!(
            "{}: resident {before} KiB before, {after} KiB with {open} idle connections, {each} B each",
            server.name
        );
    }
    Ok(match status.code() {
        Some(0) => Verdict::Kept,
        Some(1) => Verdict::Broken,
        _ => Verdict::Failed,
    })
}

fn command(server: &Server) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["idle", "--url", &server.url]);
    Ok(command)
}

fn resident(server: &Server) -> Option<u64> {
    server.process().and_then(host::resident_kib)
}
