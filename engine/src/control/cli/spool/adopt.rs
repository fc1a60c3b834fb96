//! `ringtail spool adopt`.

use crate::control::exit::Exit;
use crate::control::topics;
use crate::log::offline;
use clap::Args;
use std::io;
use std::path::PathBuf;

/// Let a store that is not the one that Kafka remembers forward its events all the same.
///
/// With spool.delivery=exactly-once Kafka remembers, for each journal of a store, the last frame that
/// it has of it. When the log does not have that frame as Kafka knows it, forwarding stops and says
/// so: the store is a copy of one that went on without it, or a loss was accepted. This gives who
/// forwards a new name, kept in the log, under which Kafka remembers nothing; the next start goes on
/// behind the log's own cursor.
///
/// Run it on a store that is not running, and only when you know which of the two is right:
///   - a copy beside a store that still runs: adopt the copy;
///   - a loss that you have accepted: adopt the store.
/// What another store sent to Kafka stays there. Events that this one sent after its cursor was last
/// recorded may come to Kafka a second time.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The store's folders, as in log.volumes: all of them.
    #[arg(
        long,
        value_name = "DIR[,DIR…]",
        value_delimiter = ',',
        required = true
    )]
    volumes: Vec<PathBuf>,
    /// Only this journal, as the message that said so has named it; may be given several times.
    #[arg(long, value_name = "N")]
    journal: Vec<u32>,
}

const EXAMPLES: &str = "\
Try it:
  curl localhost:9090/readyz                              what stopped, and both sides of it
  ringtail spool adopt --volumes /var/lib/ringtail        all journals, on the stopped store
  ringtail spool adopt --volumes /a,/b --journal 1        one journal of a store on two volumes";

impl Arguments {
    pub(super) fn run(self) -> Exit {
        let mut out = io::stdout().lock();
        match offline::adopt(&self.volumes, &self.journal, topics::random(), &mut out) {
            Ok(true) => Exit::Fine,
            Ok(false) => Exit::Failed,
            Err(error) => Exit::Failed.because(&error),
        }
    }
}
