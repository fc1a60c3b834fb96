//! The command line: one file for each sub-command, parsed into plain values.

mod ask;
mod config;
mod configured;
mod doctor;
mod log;
mod send;
mod serve;
mod spool;
mod volumes;

use super::exit::Exit;
use clap::{Parser, Subcommand};
use std::ffi::OsString;

/// Takes batches of events from fleets of devices, and answers when they are safe.
///
/// Events come in over WebSocket, REST and gRPC, as Raccoon's clients send them. Each is written to
/// a log on this machine's disks and acknowledged when it is on stable storage: an event that was
/// acknowledged is not lost.
#[derive(Debug, Parser)]
#[command(name = "ringtail", version, verbatim_doc_comment, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Try it:
  ringtail serve --volumes /var/lib/ringtail          start: ports 8080, 8081 (gRPC), 9090 (admin)
  ringtail send --url ws://localhost:8080/api/v1/events --type click --count 10000
  curl localhost:9090/topics                          what is there now
  curl 'localhost:9090/topics/clickstream-click-log/partitions/0/records?offset=0&limit=5'
  curl localhost:9090/metrics                         how it is doing
  ringtail volumes                                    how many copies there are, and how sound
  ringtail doctor                                     whether this host is fit for it
  ringtail log verify --volumes /var/lib/ringtail     check every checksum on the disk

Exit codes: 0 fine, 1 failed, 2 bad configuration or usage.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Config(config::Arguments),
    Doctor(doctor::Arguments),
    Log(log::Arguments),
    Send(send::Arguments),
    Spool(spool::Arguments),
    Volumes(volumes::Arguments),
}

/// Parses and runs. Usage errors and help are printed here.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => match arguments.command {
            Command::Serve(arguments) => arguments.run(),
            Command::Config(arguments) => arguments.run(),
            Command::Doctor(arguments) => arguments.run(),
            Command::Log(arguments) => arguments.run(),
            Command::Send(arguments) => arguments.run(),
            Command::Spool(arguments) => arguments.run(),
            Command::Volumes(arguments) => arguments.run(),
        },
        Err(error) => {
            // Nothing can be said when the terminal is gone.
            let _ = error.print();
            if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Fine
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_is_fine_and_nonsense_is_a_usage_error() {
        let exit = |words: &[&str]| run(words.iter().map(OsString::from));
        assert_eq!(exit(&["ringtail", "--help"]), Exit::Fine);
        assert_eq!(exit(&["ringtail", "sing"]), Exit::Usage);
        assert_eq!(exit(&["ringtail", "send"]), Exit::Usage);
    }
}
