//! Where a log is read from.

use std::{
    io::BufReader,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

use super::{Audit, CheckError, Stored, account::Leave, kafka::Cluster};
use crate::{host, wire::ask};

/// Records asked for at once; the page may hold fewer.
const PAGE_RECORDS: u32 = 10_000;

/// How to get at what a server kept.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
pub(crate) struct ReadBack {
    /// The store's folders: read with `ringtail log cat`.
    #[arg(
        long,
        value_name = "DIR[,DIR…]",
        value_delimiter = ',',
        conflicts_with_all = ["admin", "kafka"]
    )]
    pub(crate) volumes: Vec<PathBuf>,
    /// The program that reads them; by default the one beside this program.
    #[arg(long, value_name = "PROGRAM", requires = "volumes")]
    pub(crate) ringtail: Option<PathBuf>,
    /// The server's admin port, such as 127.0.0.1:9090: read while the server runs.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin: Option<String>,
    /// Brokers that the server writes to: all topics that are not Kafka's own are read, from their beginnings.
    #[arg(long, value_name = "HOST:PORT[,…]", conflicts_with = "admin")]
    pub(crate) kafka: Option<String>,
    /// Read these topics of Kafka only.
    #[arg(
        long,
        value_name = "TOPIC[,…]",
        value_delimiter = ',',
        requires = "kafka"
    )]
    pub(crate) kafka_topics: Vec<String>,
    /// Leave out what Kafka's transactions did not commit, as consumers with `read_committed` do.
    #[arg(long, requires = "kafka")]
    pub(crate) read_committed: bool,
    /// Events that are there twice are counted, and no fault: a spool delivers at least once.
    #[arg(long, requires = "kafka")]
    pub(crate) at_least_once: bool,
}

impl ReadBack {
    pub(crate) fn is_given(&self) -> bool {
        self.admin.is_some() || self.kafka.is_some() || !self.volumes.is_empty()
    }

    pub(super) fn leave(&self) -> Leave {
        Leave {
            gaps: self.kafka.is_some(),
            duplicates: self.at_least_once,
        }
    }

    /// Reads everything into the audit.
    pub(super) fn read(&self, audit: &mut Audit) -> Result<(), CheckError> {
        if let Some(admin) = &self.admin {
            return Admin::new(admin).read(audit);
        }
        if let Some(brokers) = &self.kafka {
            let cluster = Cluster {
                brokers,
                topics: &self.kafka_topics,
                read_committed: self.read_committed,
            };
            return cluster.read(audit);
        }
        self.cat(audit)
    }

    fn cat(&self, audit: &mut Audit) -> Result<(), CheckError> {
        let program = self.ringtail.clone().unwrap_or_else(host::ringtail_program);
        let name = program.display().to_string();
        let failed = |source| CheckError::Read {
            from: format!("the log with {name}"),
            source,
        };
        let folders: Vec<_> = self
            .volumes
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        let mut child = Command::new(&program)
            .args(["log", "cat", "--format", "json", "--volumes"])
            .arg(folders.join(","))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let lines = child.stdout.take().expect("it was asked to be piped");
        let read = audit.read_lines(BufReader::with_capacity(1 << 20, lines));
        let status = child.wait().map_err(failed)?;
        read?;
        if status.success() {
            Ok(())
        } else {
            Err(CheckError::Cat {
                program: name,
                status: status.to_string(),
            })
        }
    }
}

#[derive(Deserialize)]
struct Topic {
    name: String,
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    #[serde(rename = "partition")]
    number: u32,
    first: u64,
    next: u64,
}

/// A line of a page of records.
#[derive(Deserialize)]
struct Record {
    offset: u64,
    value_base64: String,
}

struct Admin {
    authority: String,
}

impl Admin {
    fn new(given: &str) -> Self {
        let authority = given.trim_start_matches("http://").trim_end_matches('/');
        Self {
            authority: authority.to_owned(),
        }
    }

    fn read(&self, audit: &mut Audit) -> Result<(), CheckError> {
        let topics = self.get("/topics")?;
        let topics: Vec<Topic> =
            serde_json::from_slice(&topics).map_err(|error| self.strange(&error))?;
        for topic in &topics {
            for partition in &topic.partitions {
                self.read_partition(&topic.name, partition, audit)?;
            }
        }
        Ok(())
    }

    fn read_partition(
        &self,
        topic: &str,
        place: &Partition,
        audit: &mut Audit,
    ) -> Result<(), CheckError> {
        let (partition, mut offset) = (place.number, place.first);
        while offset < place.next {
            let page = self.get(&format!(
                "/topics/{topic}/partitions/{partition}/records?offset={offset}&limit={PAGE_RECORDS}"
            ))?;
            let before = offset;
            for line in page
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let record: Record =
                    serde_json::from_slice(line).map_err(|error| self.strange(&error))?;
                audit.take_stored(&Stored {
                    topic: topic.into(),
                    partition,
                    offset: record.offset,
                    value_base64: record.value_base64.into(),
                })?;
                offset = record.offset + 1;
            }
            if offset == before {
                return Err(self.strange(&format!("nothing at offset {offset} of {topic}")));
            }
        }
        Ok(())
    }

    fn strange(&self, what: &dyn std::fmt::Display) -> CheckError {
        CheckError::Admin {
            authority: self.authority.clone(),
            what: what.to_string(),
        }
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, CheckError> {
        match ask::get(&self.authority, path) {
            Ok((200, page)) => Ok(page),
            Ok((status, page)) => {
                Err(self.strange(&format!("{path}: {status} {}", page.escape_ascii())))
            }
            Err(source) => Err(CheckError::Read {
                from: format!("the log from {}", self.authority),
                source,
            }),
        }
    }
}
