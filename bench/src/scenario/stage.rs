//! Servers that are started for a step and stopped after it.
//!
//! Always: a server that was started is ended, also when the step fails; its store goes with it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use super::file::{Program, Target};
use crate::{host, wire::ask};

const READY_TRIES: u32 = 600;
const STOP_TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Error)]
pub(crate) enum StageError {
    #[error("{name}: could not {deed}: {source}")]
    Io {
        name: String,
        deed: &'static str,
        source: io::Error,
    },
    #[error("{name} did not become ready: {said}")]
    NotReady { name: String, said: String },
}

/// Where programs and stores are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) ringtail: PathBuf,
    /// Stores are made in a fresh folder of this one.
    pub(super) folder: PathBuf,
    /// Where servers that publish find Kafka, unless their own settings say so.
    pub(super) broker: Option<String>,
}

/// A server that takes load.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) url: String,
    /// `host:port` of the admin port, when the server is a Ringtail of ours.
    pub(super) admin: Option<String>,
    child: Option<Child>,
    store: Option<PathBuf>,
}

impl Server {
    pub(super) fn start(
        target: &Target,
        env: &BTreeMap<String, String>,
        places: &Places,
    ) -> Result<Self, StageError> {
        let failed = |deed| {
            move |source| StageError::Io {
                name: target.name.clone(),
                deed,
                source,
            }
        };
        let mut server = Self {
            name: target.name.clone(),
            url: target.url.clone().unwrap_or_default(),
            admin: None,
            child: None,
            store: None,
        };
        match target.start {
            None => {}
            Some(Program::Ringtail) => server.start_ringtail(target, env, places)?,
            Some(Program::Null) => server
                .start_null(target, "ringtail")
                .map_err(failed("start it"))?,
            Some(Program::NullTokio) => server
                .start_null(target, "tokio")
                .map_err(failed("start it"))?,
        }
        Ok(server)
    }

    /// The process, when it is ours.
    pub(super) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn start_ringtail(
        &mut self,
        target: &Target,
        env: &BTreeMap<String, String>,
        places: &Places,
    ) -> Result<(), StageError> {
        let failed = |deed| {
            let name = target.name.clone();
            move |source| StageError::Io { name, deed, source }
        };
        let folder = format!("ringtail-scenario-{}-{}", std::process::id(), target.name);
        let store = places.folder.join(folder);
        fs::create_dir_all(&store).map_err(failed("make its store"))?;
        self.store = Some(store.clone());
        let [port, admin, grpc] = free_ports().map_err(failed("find free ports"))?;
        let speaks_grpc = target.protocol.is_grpc();
        let said = store.join("said");
        let log = fs::File::create(&said).map_err(failed("make its log"))?;
        let volumes = volumes(&store, target.volumes).map_err(failed("make its volumes"))?;
        let mut command = Command::new(&places.ringtail);
        if let Some(broker) = &places.broker {
            command.env("PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS", broker);
        }
        command
            .arg("serve")
            .envs(&target.env)
            .envs(env)
            .env("SERVER_WEBSOCKET_PORT", port.to_string())
            .env("RINGTAIL_ADMIN_PORT", admin.to_string())
            // A door that nobody knocks at stays shut: its port would be the same for each server.
            .env(
                "SERVER_GRPC_PORT",
                if speaks_grpc { grpc } else { 0 }.to_string(),
            )
            .env("RINGTAIL_LOG_VOLUMES", volumes.join(","))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = host::confined(&target.cpu, || command.spawn());
        self.child = Some(child.map_err(failed("start it"))?);
        self.url = target.protocol.url(if speaks_grpc { grpc } else { port });
        let admin = format!("127.0.0.1:{admin}");
        self.wait_until_ready(&admin, &said)?;
        self.admin = Some(admin);
        Ok(())
    }

    fn wait_until_ready(&mut self, admin: &str, said: &Path) -> Result<(), StageError> {
        for _ in 0..READY_TRIES {
            if ask::get(admin, "/readyz").is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            let ended = self.child.as_mut().map(Child::try_wait);
            if matches!(ended, Some(Ok(Some(_)))) {
                break;
            }
            host::pause(PAUSE);
        }
        Err(StageError::NotReady {
            name: self.name.clone(),
            said: fs::read_to_string(said).unwrap_or_default(),
        })
    }

    fn start_null(&mut self, target: &Target, runtime: &str) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["null", "--listen", "127.0.0.1:0", "--runtime", runtime])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = host::confined(&target.cpu, || command.spawn())?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        self.child = Some(child);
        let address = line.strip_prefix("listening on ");
        let address = address.and_then(|rest| rest.split(',').next());
        let port = address.and_then(|address| address.rsplit(':').next()?.parse().ok());
        self.url = target.protocol.url(port.ok_or(io::ErrorKind::InvalidData)?);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child);
        }
        if let Some(store) = self.store.take() {
            // What cannot be removed is left in a folder that says whose it is.
            let _left = fs::remove_dir_all(store);
        }
    }
}

/// Asks a process to end, and makes it when it does not.
fn end(child: &mut Child) {
    if let Some(process) = Pid::from_raw(child.id() as i32) {
        // It fails when the process is gone, which is what is wanted.
        let _gone = kill_process(process, Signal::TERM);
    }
    for _ in 0..STOP_TRIES {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        host::pause(PAUSE);
    }
    let _gone = child.kill();
    let _gone = child.wait();
}

/// Makes so many folders for volumes.
fn volumes(store: &Path, count: u32) -> io::Result<Vec<String>> {
    let make = |number| -> io::Result<String> {
        let folder = store.join(format!("volume-{number}"));
        fs::create_dir_all(&folder)?;
        Ok(folder.to_string_lossy().into_owned())
    };
    (1..=count).map(make).collect()
}

/// Three ports that nobody holds now.
fn free_ports() -> io::Result<[u16; 3]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let held = [bind()?, bind()?, bind()?];
    let port = |of: usize| held[of].local_addr().map(|address| address.port());
    Ok([port(0)?, port(1)?, port(2)?])
}
