//! Connections that come and go, and what they cost the server.

use std::{io, process::Command};

use super::stage::Server;
use crate::{Verdict, host};

/// Opens and closes connections with the flags of `churn`; prints how many went, and the server's share.
pub(super) fn come_and_go(server: &Server, flags: &[String]) -> io::Result<Verdict> {
    let used = || server.process().and_then(host::process_cpu);
    let (before, begun) = (used(), host::now());
    let mut command = Command::new(std::env::current_exe()?);
    let output = command
        .args(["churn", "--url", &server.url])
        .args(flags)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let took = host::now() - begun;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("{}: {line}", server.name);
    }
    if let (Some(before), Some(after)) = (before, used()) {
        let cores = after.saturating_sub(before).as_secs_f64() / took.as_secs_f64();
        println!("{}: server {:.0} % of a core", server.name, 100.0 * cores);
    }
    Ok(match output.status.code() {
        Some(0) => Verdict::Kept,
        Some(1) => Verdict::Broken,
        _ => Verdict::Failed,
    })
}
