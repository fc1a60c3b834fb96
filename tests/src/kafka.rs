//! Real Apache Kafka on free ports: one broker or several, made, killed, paused and read back.
//!
//! `tests/kafka/broker.sh` fetches and runs it. Where it cannot be had, a test fails and says what to
//! install: a promise about Kafka that was not tried against Kafka was not kept.

use crate::client::{draw, seed};
use crate::program;
use crate::scratch::Scratch;
use crate::wait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Fetching takes a minute when it is the first time, and longer beside other load.
const FETCH_SECONDS: u32 = 600;
const START_SECONDS: u32 = 240;
const TOOL_SECONDS: u32 = 240;
/// What a broker says when it serves.
const SERVES: &str = "Kafka Server started";

/// Doors that a broker has beside the plain one.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// Names of Kafka's protocols, with a port for each.
    pub listeners: Vec<(String, u16)>,
    /// What else its properties have to say, a line each.
    pub lines: String,
}

/// Brokers that know each other.
pub struct Cluster {
    brokers: Vec<Broker>,
    folder: PathBuf,
}

struct Broker {
    /// From 1.
    number: usize,
    port: u16,
    folder: PathBuf,
    child: Option<Child>,
    starts: usize,
}

/// A record as a foreign consumer reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Cluster {
    /// Starts so many brokers, and comes back when all serve. Topics are not made by themselves.
    ///
    /// # Panics
    /// When there is no Kafka to be had, or it does not start.
    pub fn start(scratch: &Scratch, brokers: usize) -> Self {
        Self::start_with(scratch, brokers, &Doors::default())
    }

    /// The same, with more doors for every broker.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub fn start_with(scratch: &Scratch, brokers: usize, doors: &Doors) -> Self {
        let which = fetch(scratch);
        let ports = quiet_ports(brokers);
        let mut voters = String::new();
        for (number, [_, controller]) in (1..).zip(&ports) {
            let comma = if number == 1 { "" } else { "," };
            let _ = write!(voters, "{comma}{number}@127.0.0.1:{controller}");
        }
        let mut cluster = Self {
            brokers: Vec::new(),
            folder: scratch.path().into(),
        };
        for (number, ports) in (1..).zip(ports) {
            let folder = scratch.join(&format!("kafka-{number}"));
            fs::create_dir_all(&folder).expect("the scratch folder takes folders");
            let text = properties(number, ports, &voters, &folder, doors);
            fs::write(folder.join("server.properties"), text).expect("the folder takes files");
            cluster.brokers.push(Broker {
                number,
                port: ports[0],
                folder,
                child: None,
                starts: 0,
            });
        }
        for broker in &mut cluster.brokers {
            broker.spawn();
        }
        for broker in &mut cluster.brokers {
            broker.wait_until_it_serves();
        }
        println!("{brokers} broker(s) of {which} on {}", cluster.bootstrap());
        cluster
    }

    /// Where the broker with this number listens.
    pub fn port(&self, number: usize) -> u16 {
        self.brokers[number - 1].port
    }

    /// What clients are told to begin with.
    pub fn bootstrap(&self) -> String {
        let all = self.brokers.iter();
        let all: Vec<_> = all
            .map(|broker| format!("127.0.0.1:{}", broker.port))
            .collect();
        all.join(",")
    }

    /// `kill -9`, of the broker with this number.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, number: usize) {
        let broker = &mut self.brokers[number - 1];
        let mut child = broker.child.take().expect("it runs");
        child.kill().expect("our own child takes signals");
        child.wait().expect("our own child can be waited for");
    }

    /// Starts a broker that was killed, on its own data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self, number: usize) {
        let broker = &mut self.brokers[number - 1];
        broker.spawn();
        broker.wait_until_it_serves();
    }

    /// SIGSTOP: it is there and does nothing.
    pub fn pause(&self, number: usize) {
        self.brokers[number - 1].signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub fn resume(&self, number: usize) {
        self.brokers[number - 1].signal(Signal::CONT);
    }

    /// Makes a topic whose partitions are led by these brokers in turn, each the only one that has them.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub fn create(&self, topic: &str, partitions: usize, brokers: &[usize]) {
        let brokers: Vec<_> = brokers.iter().map(ToString::to_string).collect();
        let (partitions, brokers) = (partitions.to_string(), brokers.join(","));
        self.tool(&["create", topic, &partitions, &brokers]);
    }

    /// Removes a topic with everything in it.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub fn delete(&self, topic: &str) {
        self.tool(&["delete", topic]);
    }

    /// How many partitions each topic has.
    ///
    /// # Panics
    /// When Kafka does not say.
    pub fn topics(&self) -> std::collections::BTreeMap<String, usize> {
        let said = self.tool(&["topics"]);
        serde_json::from_str(&said).expect("the tool prints JSON")
    }

    /// Everything that these topics hold, each partition in its order.
    ///
    /// # Panics
    /// When Kafka does not give it.
    pub fn consume(&self, topics: &[&str]) -> Vec<Record> {
        let said = self.tool(&[&["consume"], topics].concat());
        said.lines().map(Record::read).collect()
    }

    /// The same as [`Cluster::consume`], of one topic and read by `kcat`; without headers.
    ///
    /// # Panics
    /// When `kcat` is missing, or does not give it.
    pub fn kcat(&self, topic: &str) -> Vec<Record> {
        let mut command = program::clean(Path::new("kcat"));
        command.args(["-C", "-q", "-e", "-o", "beginning", "-b", &self.bootstrap()]);
        // Lengths stand before what they are the lengths of, so any bytes can be in there.
        command.args(["-t", topic, "-f", "%p %o %K %S\n%k%s"]);
        let output = command
            .output()
            .expect("kcat is missing: tests/run.sh installs it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kcat: {}: {said}", output.status);
        read_kcat(topic, &output.stdout)
    }

    fn tool(&self, words: &[&str]) -> String {
        let mut command = program::clean(&program::python());
        command
            .arg("-B")
            .arg(program::repository().join("tests/kafka/tool.py"))
            .arg(self.bootstrap())
            .args(words);
        let finished = program::run(command, &self.folder, TOOL_SECONDS);
        assert_eq!(finished.code, Some(0), "{words:?}: {}", finished.stderr);
        finished.stdout
    }
}

impl Broker {
    fn said(&self) -> PathBuf {
        self.folder.join(format!("said-{}", self.starts))
    }

    fn spawn(&mut self) {
        self.starts += 1;
        let file = fs::File::create(self.said()).expect("the folder takes files");
        let same = file.try_clone().expect("a file can be held twice");
        let child = script("run")
            .arg(&self.folder)
            .stdout(file)
            .stderr(same)
            .spawn();
        self.child = Some(child.expect("a shell is there"));
    }

    fn wait_until_it_serves(&mut self) {
        let (path, number) = (self.said(), self.number);
        let child = self.child.as_mut().expect("it was just started");
        wait::until(&format!("broker {number}"), START_SECONDS, || {
            let said = fs::read_to_string(&path).unwrap_or_default();
            let status = child.try_wait().expect("our own child can be waited for");
            assert!(
                status.is_none(),
                "broker {number} did not start: {status:?}: {said}"
            );
            said.contains(SERVES).then_some(())
        });
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_raw(child.id() as i32).expect("a process has a number");
        kill_process(pid, signal).expect("our own child takes signals");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A paused process dies of this too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Record {
    fn read(line: &str) -> Self {
        #[derive(Deserialize)]
        struct Row {
            topic: String,
            partition: i32,
            offset: i64,
            key: Option<String>,
            value: Option<String>,
            headers: Vec<(String, Option<String>)>,
        }
        let row: Row = serde_json::from_str(line).expect("the tool prints JSON");
        let bytes = |text: String| BASE64_STANDARD.decode(text).expect("it is base64");
        let headers = row.headers.into_iter();
        Self {
            topic: row.topic,
            partition: row.partition,
            offset: row.offset,
            key: row.key.map(bytes),
            value: row.value.map(bytes).unwrap_or_default(),
            headers: headers
                .map(|(name, value)| (name, value.map(bytes).unwrap_or_default()))
                .collect(),
        }
    }
}

/// Partition, offset, length of the key (-1: none) and of the value in a line; then key and value.
fn read_kcat(topic: &str, mut rest: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, bytes) = rest.split_at(end.expect("a line comes before each record"));
        let line = std::str::from_utf8(line).expect("the line is numbers");
        let numbers: Vec<i64> = line.split(' ').flat_map(str::parse).collect();
        let [partition, offset, key_bytes, value_bytes] = numbers[..] else {
            panic!("kcat printed {line}");
        };
        let (key, bytes) = bytes[1..].split_at(key_bytes.max(0) as usize);
        let (value, bytes) = bytes.split_at(value_bytes.max(0) as usize);
        records.push(Record {
            topic: topic.into(),
            partition: partition as i32,
            offset,
            key: (0 <= key_bytes).then(|| key.into()),
            value: value.into(),
            headers: Vec::new(),
        });
        rest = bytes;
    }
    records
}

/// Two ports for each broker, below those that the kernel lends to outgoing connections: a broker that was
/// killed must find its own free when it starts again.
pub fn quiet_ports(brokers: usize) -> Vec<[u16; 2]> {
    let mut state = seed();
    let mut hold = || {
        let tries = (0..1_000).map(|_| 10_000 + (draw(&mut state) % 20_000) as u16);
        let mut held = tries.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        held.next().expect("a port is free below 30 000")
    };
    let held: Vec<_> = (0..brokers).map(|_| [hold(), hold()]).collect();
    let port = |listener: TcpListener| listener.local_addr().expect("it is bound").port();
    held.into_iter().map(|two| two.map(port)).collect()
}

fn script(word: &str) -> Command {
    let path = program::repository().join("tests/kafka/broker.sh");
    let mut command = program::clean(Path::new("bash"));
    command
        .arg(path)
        .arg(word)
        .env("CARGO_TARGET_DIR", program::target());
    command
}

/// The jars, fetched if need be; says which Kafka they are.
fn fetch(scratch: &Scratch) -> String {
    let finished = program::run(script("fetch"), scratch.path(), FETCH_SECONDS);
    assert_eq!(
        finished.code,
        Some(0),
        "there is no Kafka to test against: {}",
        finished.stderr
    );
    finished.stdout.trim().to_owned()
}

fn properties(
    number: usize,
    [port, controller]: [u16; 2],
    voters: &str,
    folder: &Path,
    doors: &Doors,
) -> String {
    let data = folder.join("data");
    let (mut listeners, mut protocols) = (String::new(), String::new());
    for (name, port) in &doors.listeners {
        let _ = write!(listeners, ",{name}://127.0.0.1:{port}");
        let _ = write!(protocols, ",{name}:{name}");
    }
    let more = &doors.lines;
    format!(
        "process.roles=broker,controller\n\
         node.id={number}\n\
         controller.quorum.voters={voters}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}{listeners}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         delete.topic.enable=true\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         {more}\n",
        data.display()
    )
}
