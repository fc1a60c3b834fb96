//! `ringtail spool retry`.

use super::super::ask::{Error, ask};
use crate::control::exit::Exit;
use crate::limit::SPOOL_RETRY_CLIENT_WAIT;
use crate::spool::retry::{Retried, Retry};
use clap::Args;

/// Send dead letters again: events that Kafka would not take, kept in the log with the reason.
///
/// Asks a running engine. Each event goes to the end of the log, in the order of the letters, and from
/// there to Kafka as any other; its letter goes when the event is durable there. What Kafka will still
/// not take becomes a letter again, with the new reason. After a crash in between, some events may be
/// sent twice, and none is lost.
///
/// Exit code 1 when not everything that was asked for was sent.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The engine's admin port.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9090")]
    admin: String,
    /// Only the letters of this topic, by its name in Kafka.
    #[arg(long, value_name = "T")]
    topic: Option<Box<str>>,
    /// Count what would be sent, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON, as `POST /spool/retry` gives it.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Try it:
  curl 'localhost:9090/topics/ringtail-dead-letters/partitions/0/records'    the letters of journal 0
  ringtail spool retry --dry-run                                             how many of which topic
  ringtail spool retry --topic clickstream-click-log                         those of one topic";

impl Arguments {
    pub(super) fn run(self) -> Exit {
        match self.ask() {
            Ok(true) => Exit::Fine,
            Ok(false) => Exit::Failed,
            Err(error) => Exit::Failed.because(&error),
        }
    }

    /// Whether all of it was sent.
    fn ask(&self) -> Result<bool, Error> {
        let asked = Retry {
            topic: self.topic.clone(),
            dry_run: self.dry_run,
        };
        let question = serde_json::to_string(&asked).expect("these fields have no way to fail");
        let question = ("POST", "/spool/retry", question.as_str());
        let is_told = ["200", "503"];
        let body = ask(&self.admin, question, &is_told, SPOOL_RETRY_CLIENT_WAIT)?;
        let retried: Retried = serde_json::from_str(&body).map_err(|source| Error::Answer {
            admin: self.admin.clone(),
            source,
        })?;
        if self.json {
            println!("{}", body.trim());
        } else {
            print!("{}", tell(&retried, self.dry_run));
        }
        Ok(retried.faults.is_empty() && retried.left == 0)
    }
}

fn tell(retried: &Retried, dry_run: bool) -> String {
    let Retried {
        sent,
        kept,
        unsendable,
        left,
        ..
    } = retried;
    let what = if dry_run { "would be" } else { "were" };
    let mut lines = vec![format!("{sent} events {what} sent again")];
    let topics = retried.topics.iter();
    lines.extend(topics.map(|(topic, count)| format!("  {topic}: {count}")));
    if 0 < *kept {
        lines.push(format!("{kept} letters of other topics stay"));
    }
    if 0 < *unsendable {
        lines.push(format!(
            "{unsendable} letters stay that cannot be sent: their topics were deleted from the log, or they are not whole"
        ));
    }
    if 0 < *left {
        lines.push(format!("there was no time for {left} more: run it again"));
    }
    lines.extend(retried.faults.iter().cloned());
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_told_in_lines() {
        let mut retried = Retried {
            kept: 4,
            unsendable: 1,
            left: 9,
            faults: vec!["journal 1: the disk is full".into()],
            ..Retried::default()
        };
        retried.note_sent("click");
        retried.note_sent("click");
        let text = tell(&retried, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "2 events were sent again",
                "  click: 2",
                "4 letters of other topics stay"
            ]
        );
        assert!(lines[3].starts_with("1 letters stay that cannot be sent"));
        assert_eq!(lines[4], "there was no time for 9 more: run it again");
        assert_eq!(lines[5], "journal 1: the disk is full");
        assert!(tell(&Retried::default(), true).starts_with("0 events would be sent again"));
    }
}
