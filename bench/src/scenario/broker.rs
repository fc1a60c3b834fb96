//! Brokers that are started for a scenario: real ones, by the script that the scenario names.
//!
//! Always: a broker that was started is ended, also when a step fails or it stands still; its folder goes with it.

use std::{
    fmt::Write as _,
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use super::file::{self, Away};
use crate::host;

const START_TRIES: u32 = 1_800;
const PAUSE: Duration = Duration::from_millis(100);
const TOPIC_PATIENCE: Duration = Duration::from_secs(60);
/// What a broker says when it serves.
const SERVES: &str = "Kafka Server started";
/// Java gets memory and its best compiler: here it must not be the limit. `BROKER_JVM` replaces them.
const JVM: &str = "-Xms1g -Xmx1g -XX:+UseParallelGC";
/// As many partitions as a small topic has, and a log that does not grow with the length of a scenario.
const PROPERTIES: &str = "num.partitions=4\n\
                          log.segment.bytes=134217728\n\
                          log.retention.bytes=268435456\n\
                          log.retention.check.interval.ms=1000\n\
                          log.segment.delete.delay.ms=0\n";
/// Copies of a partition, where there are brokers enough.
const COPIES_MAX: usize = 3;

#[derive(Debug, Error)]
pub(super) enum BrokerError {
    #[error("{name}: could not {deed}: {source}")]
    Io {
        name: String,
        deed: &'static str,
        source: io::Error,
    },
    #[error("{script} {word} ended with {status}: {said}")]
    Script {
        script: PathBuf,
        word: String,
        status: String,
        said: String,
    },
    #[error("{name} did not start; the end of what it said: {said}")]
    NotServing { name: String, said: String },
    #[error("topic {topic} could not be made: {why}")]
    Topic { topic: String, why: String },
    #[error("there is no broker of ours that could go away")]
    Nobody,
    #[error("the brokers: {0}")]
    Kafka(#[from] KafkaError),
}

/// The scenario's brokers, if it starts any, and where clients find them.
#[derive(Debug)]
pub(super) struct Brokers {
    /// `host:port`, several divided by commas.
    pub(super) address: String,
    pub(super) all: Vec<Broker>,
    /// One that no server has to do with: what happens to it is what happens to a broker in a control.
    pub(super) neighbour: Option<Broker>,
}

/// One broker, a process of ours.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) name: String,
    script: PathBuf,
    folder: PathBuf,
    cpu: Vec<usize>,
    nice: u8,
    child: Option<Child>,
    starts: u32,
}

impl Brokers {
    /// Starts what `[broker]` asks for, in folders below `folder`, and makes its topics. The script's path counts from `base`.
    pub(super) fn start(
        asked: &file::Broker,
        base: &Path,
        folder: &Path,
        with_neighbour: bool,
    ) -> Result<Self, BrokerError> {
        let mut brokers = match (&asked.run, &asked.address) {
            (Some(script), _) => Self::run(asked, &base.join(script), folder, with_neighbour)?,
            (None, address) => Self {
                address: address.clone().unwrap_or_default(),
                all: Vec::new(),
                neighbour: None,
            },
        };
        brokers.wait_until_all_serve()?;
        make_topics(&brokers.address, &asked.topics)?;
        Ok(brokers)
    }

    fn run(
        asked: &file::Broker,
        script: &Path,
        folder: &Path,
        with_neighbour: bool,
    ) -> Result<Self, BrokerError> {
        print!("{}", call(script, &["fetch"])?);
        let failed = |source| BrokerError::Io {
            name: "broker".into(),
            deed: "find free ports",
            source,
        };
        let ports = quiet_ports(asked.count as usize + 1).map_err(failed)?;
        let (spare, ports) = ports.split_last().expect("one more was asked for");
        let named = |name: &str| Broker::new(name, asked, script, folder);
        let mut all = Vec::new();
        for number in 1..=ports.len() {
            let broker = named(&format!("broker-{number}"))?;
            broker.plan(ports[number - 1], &together(number, ports))?;
            all.push(broker);
        }
        let mut neighbour = None;
        if with_neighbour {
            let broker = named("neighbour")?;
            broker.plan(*spare, "")?;
            neighbour = Some(broker);
        }
        for broker in all.iter_mut().chain(neighbour.as_mut()) {
            broker.spawn()?;
        }
        let addresses: Vec<_> = ports
            .iter()
            .map(|[port, _]| format!("127.0.0.1:{port}"))
            .collect();
        Ok(Self {
            address: addresses.join(","),
            all,
            neighbour,
        })
    }

    pub(super) fn wait_until_all_serve(&mut self) -> Result<(), BrokerError> {
        let mut all = self.all.iter_mut().chain(self.neighbour.as_mut());
        all.try_for_each(Broker::wait_until_it_serves)
    }
}

impl Broker {
    fn new(
        name: &str,
        asked: &file::Broker,
        script: &Path,
        folder: &Path,
    ) -> Result<Self, BrokerError> {
        let own = format!("ringtail-scenario-{}-{name}", std::process::id());
        // Java is started elsewhere: only a whole path is the same there.
        let folder = std::path::absolute(folder.join(own));
        let broker = Self {
            name: name.to_owned(),
            script: script.to_path_buf(),
            folder: folder.unwrap_or_default(),
            cpu: asked.cpu.clone(),
            nice: asked.nice,
            child: None,
            starts: 0,
        };
        fs::create_dir_all(&broker.folder).map_err(broker.failed("make its folder"))?;
        Ok(broker)
    }

    fn failed(&self, deed: &'static str) -> impl Fn(io::Error) -> BrokerError + use<> {
        let name = self.name.clone();
        move |source| BrokerError::Io {
            name: name.clone(),
            deed,
            source,
        }
    }

    /// The script writes what one broker needs; of a property that stands there twice the last counts.
    fn plan(&self, [port, _]: [u16; 2], together: &str) -> Result<(), BrokerError> {
        let folder = self.folder.to_string_lossy().into_owned();
        call(&self.script, &["plan", &folder, &port.to_string()])?;
        let path = self.folder.join("server.properties");
        let failed = || self.failed("write its properties");
        let mut text = fs::read_to_string(&path).map_err(failed())?;
        text += PROPERTIES;
        text += together;
        fs::write(&path, text).map_err(failed())
    }

    fn said(&self) -> PathBuf {
        self.folder.join(format!("said-{}", self.starts))
    }

    fn spawn(&mut self) -> Result<(), BrokerError> {
        self.starts += 1;
        let failed = self.failed("start it");
        let said = fs::File::create(self.said()).map_err(&failed)?;
        // It ends with this program, whatever ends that.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nice", "-n", &self.nice.to_string()])
            .arg(&self.script)
            .arg("run")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stderr(said.try_clone().map_err(&failed)?)
            .stdout(said);
        if std::env::var_os("BROKER_JVM").is_none() {
            command.env("BROKER_JVM", JVM);
        }
        let child = host::confined(&self.cpu, || command.spawn());
        self.child = Some(child.map_err(failed)?);
        Ok(())
    }

    fn wait_until_it_serves(&mut self) -> Result<(), BrokerError> {
        let path = self.said();
        let said = || fs::read(&path).unwrap_or_default();
        for _ in 0..START_TRIES {
            let said = said();
            if said
                .windows(SERVES.len())
                .any(|words| words == SERVES.as_bytes())
            {
                return Ok(());
            }
            let ended = self.child.as_mut().map(Child::try_wait);
            if !matches!(ended, Some(Ok(None))) {
                break;
            }
            host::pause(PAUSE);
        }
        let said = said();
        let end = &said[said.len().saturating_sub(1_000)..];
        Err(BrokerError::NotServing {
            name: self.name.clone(),
            said: String::from_utf8_lossy(end).into_owned(),
        })
    }

    fn signal(&self, signal: Signal) {
        let process = self
            .child
            .as_ref()
            .and_then(|child| Pid::from_raw(child.id() as i32));
        if let Some(process) = process {
            // It fails when the process is gone, which shows when it is to serve again.
            let _gone = kill_process(process, signal);
        }
    }

    /// It goes away, at once.
    pub(super) fn leave(&mut self, away: Away) {
        match away {
            Away::Kill => self.end(),
            Away::Pause => self.signal(Signal::STOP),
        }
    }

    /// It comes back; one that was killed serves a little later.
    pub(super) fn come_back(&mut self, away: Away) -> Result<(), BrokerError> {
        match away {
            Away::Kill => self.spawn(),
            Away::Pause => {
                self.signal(Signal::CONT);
                Ok(())
            }
        }
    }

    /// Also one that stands still: no other signal would end it.
    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
        // What cannot be removed is left in a folder that says whose it is.
        let _left = fs::remove_dir_all(&self.folder);
    }
}

/// What makes one of several brokers know the others.
fn together(number: usize, ports: &[[u16; 2]]) -> String {
    if ports.len() == 1 {
        return String::new();
    }
    let mut voters = String::new();
    for (number, [_, controller]) in (1..).zip(ports) {
        let comma = if number == 1 { "" } else { "," };
        write!(voters, "{comma}{number}@127.0.0.1:{controller}").expect("text grows as needed");
    }
    let copies = ports.len().min(COPIES_MAX);
    let in_sync = copies.div_ceil(2);
    format!(
        "node.id={number}\n\
         controller.quorum.voters={voters}\n\
         default.replication.factor={copies}\n\
         min.insync.replicas={in_sync}\n\
         offsets.topic.replication.factor={copies}\n\
         transaction.state.log.replication.factor={copies}\n"
    )
}

/// Runs the broker's script to its end: what it printed.
fn call(script: &Path, words: &[&str]) -> Result<String, BrokerError> {
    let output = Command::new(script)
        .args(words)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|source| BrokerError::Io {
        name: script.display().to_string(),
        deed: "run it",
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(BrokerError::Script {
        script: script.to_path_buf(),
        word: words.join(" "),
        status: output.status.to_string(),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Two ports for each broker, one after the other as the script wants them, below those that the kernel lends to outgoing
/// connections: a broker that was killed must find its own free when it starts again.
fn quiet_ports(brokers: usize) -> io::Result<Vec<[u16; 2]>> {
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let mut held = Vec::new();
    let mut found = Vec::new();
    let first = 10_000 + (host::run_number() % 20_000) as u16;
    for port in (first..30_000).chain(10_000..first) {
        if found.len() == brokers {
            break;
        }
        if let (Ok(one), Ok(two)) = (bind(port), bind(port + 1)) {
            held.push([one, two]);
            found.push([port, port + 1]);
        }
    }
    if found.len() < brokers {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    Ok(found)
}

/// Makes topics that are not there.
fn make_topics(address: &str, topics: &[String]) -> Result<(), BrokerError> {
    if topics.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", address)
        .create()?;
    // -1: as many as the brokers make by themselves.
    let new = |topic| NewTopic::new(topic, -1, TopicReplication::Fixed(-1));
    let new: Vec<_> = topics.iter().map(|topic| new(topic)).collect();
    let options = AdminOptions::new()
        .request_timeout(Some(TOPIC_PATIENCE))
        .operation_timeout(Some(TOPIC_PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| BrokerError::Io {
        name: "the brokers".into(),
        deed: "make topics",
        source,
    })?;
    for made in runtime.block_on(admin.create_topics(&new, &options))? {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                let why = code.to_string();
                return Err(BrokerError::Topic { topic, why });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_brokers_are_told_of_each_other_and_one_of_nobody() {
        assert_eq!(together(1, &[[1, 2]]), "");
        let text = together(2, &[[1, 2], [3, 4], [5, 6]]);
        assert!(text.contains("node.id=2\n"), "{text}");
        assert!(
            text.contains("voters=1@127.0.0.1:2,2@127.0.0.1:4,3@127.0.0.1:6\n"),
            "{text}"
        );
        assert!(text.contains("min.insync.replicas=2\n"), "{text}");
    }

    #[test]
    fn brokers_get_ports_of_their_own() {
        let ports = quiet_ports(3).unwrap();
        let mut all: Vec<_> = ports.iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }
}
