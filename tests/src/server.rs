//! `ringtail serve` on free ports: started, killed, drained.

use crate::http::{self, Http};
use crate::program::{self, Finished};
use crate::scratch::Scratch;
use crate::wait;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

/// How often a start is tried again because somebody took its port in between.
const PORT_TRIES: usize = 5;
const READY_SECONDS: u32 = 60;
const STOP_SECONDS: u32 = 60;

/// A configuration to start with, as often as wanted.
#[derive(Clone)]
pub struct Setup {
    folder: PathBuf,
    settings: BTreeMap<String, String>,
    words: Vec<String>,
}

impl Setup {
    /// One shard and the smallest segments, its store in `scratch`; the gRPC door is shut, for its
    /// port would be the same in every test.
    pub fn new(scratch: &Scratch) -> Self {
        let setup = Self {
            folder: scratch.path().into(),
            settings: BTreeMap::new(),
            words: Vec::new(),
        };
        setup
            .volume(&scratch.join("store"))
            .set("SERVER_GRPC_PORT", 0)
            .set("RINGTAIL_SHARDS", 1)
            .set("RINGTAIL_LOG_SEGMENT_BYTES", 32 << 20)
    }

    /// One environment variable.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers, words and paths are given as they are"
    )]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.insert(key.into(), value.to_string());
        self
    }

    /// One more word behind `ringtail serve`.
    pub fn word(mut self, word: &str) -> Self {
        self.words.push(word.into());
        self
    }

    /// The store's one volume.
    pub fn volume(self, folder: &Path) -> Self {
        self.set("RINGTAIL_LOG_VOLUMES", folder.display())
    }

    /// The command as it would be started.
    pub fn command(&self) -> Command {
        let mut command = program::clean(&program::built("ringtail"));
        command.arg("serve").args(&self.words);
        command.current_dir(&self.folder);
        command.envs(&self.settings);
        command
    }

    /// Starts where a refusal is expected, and gives what the program said.
    pub fn refused(&self) -> Finished {
        program::run(self.command(), &self.folder, READY_SECONDS)
    }

    /// Starts, and comes back when `/readyz` says yes.
    ///
    /// # Panics
    /// When the program ends instead, or is not ready in a minute.
    pub fn start(&self) -> Server {
        for _ in 0..PORT_TRIES {
            match self.start_on(free_ports()) {
                Ok(server) => return server,
                Err(said) if said.to_lowercase().contains("in use") => {}
                Err(said) => panic!("ringtail did not start: {said}"),
            }
        }
        panic!("no free port was found in {PORT_TRIES} tries");
    }

    /// Starts on these two ports, for clients and for operators; what it said when it would not.
    ///
    /// # Panics
    /// When the program is not ready in a minute.
    pub fn start_on(&self, [port, admin]: [u16; 2]) -> Result<Server, String> {
        let setup = self
            .clone()
            .set("SERVER_WEBSOCKET_PORT", port)
            .set("RINGTAIL_ADMIN_PORT", admin);
        setup.start_once(port, admin)
    }

    /// Starts, and comes back when the admin port answers anything at all.
    ///
    /// # Panics
    /// When the program ends instead, or says nothing in a minute.
    pub fn start_unready(&self) -> Server {
        for _ in 0..PORT_TRIES {
            let [port, admin] = free_ports();
            let setup = self.clone().set("SERVER_WEBSOCKET_PORT", port);
            let mut server = setup.set("RINGTAIL_ADMIN_PORT", admin).spawn(port, admin);
            match server.wait_for_answer(|_| true) {
                Ok(()) => return server,
                Err(said) if said.to_lowercase().contains("in use") => {}
                Err(said) => panic!("ringtail did not start: {said}"),
            }
        }
        panic!("no free port was found in {PORT_TRIES} tries");
    }

    fn start_once(&self, port: u16, admin: u16) -> Result<Server, String> {
        let mut server = self.spawn(port, admin);
        server.wait_for_answer(|status| status == 200)?;
        Ok(server)
    }

    fn spawn(&self, port: u16, admin: u16) -> Server {
        let said = self.folder.join("server.stderr");
        let file = |path: &Path| fs::File::create(path).expect("the scratch folder takes files");
        let mut command = self.command();
        command.stdout(file(&self.folder.join("server.stdout")));
        command.stderr(file(&said));
        let child = command.spawn().expect("the program was found");
        Server {
            child: Some(child),
            port,
            admin,
            said,
        }
    }
}

/// A running engine. Dropping it kills it.
pub struct Server {
    child: Option<Child>,
    /// Where clients send.
    pub port: u16,
    /// Where operators ask.
    pub admin: u16,
    said: PathBuf,
}

impl Server {
    /// Until `/readyz` has a status that `fits`; what the program said when it ended instead.
    fn wait_for_answer(&mut self, fits: impl Fn(u16) -> bool) -> Result<(), String> {
        let admin = self.admin;
        let said = self.said.clone();
        let child = self.child.as_mut().expect("it was just started");
        wait::until("the engine's word on /readyz", READY_SECONDS, || {
            if let Ok(Some(status)) = child.try_wait() {
                let said = fs::read_to_string(&said).unwrap_or_default();
                return Some(Err(format!("{status}: {said}")));
            }
            let answer = Http::connect(admin).ok()?.get("/readyz").ok()?;
            fits(answer.status).then_some(Ok(()))
        })
    }

    /// Sends a GET to the admin port.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn ask(&self, path: &str) -> http::Response {
        let mut http = Http::connect(self.admin).expect("the admin port accepts");
        http.get(path).expect("the admin port answers")
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// What it has written to standard error so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// `kill -9`, without any warning.
    pub fn kill(mut self) {
        self.end();
    }

    /// Sends TERM and returns at once.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process has a number");
        kill_process(pid, Signal::TERM).expect("our own child takes signals");
    }

    /// Waits for the end that [`Server::terminate`] asked for.
    ///
    /// # Panics
    /// When it does not come in a minute.
    pub fn finished(mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("the server runs");
        let status = wait::until("the end after TERM", STOP_SECONDS, || {
            child.try_wait().expect("our own child can be waited for")
        });
        self.child = None;
        status
    }

    /// TERM, and the end.
    ///
    /// # Panics
    /// When the program does not say that it ended well.
    pub fn stop(self) {
        let said = self.said.clone();
        self.terminate();
        let status = self.finished();
        let said = fs::read_to_string(said).unwrap_or_default();
        assert_eq!(
            status.code(),
            Some(0),
            "after TERM: {status}; it said: {said}"
        );
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() && self.child.is_some() {
            eprintln!("the engine said:\n{}", self.said());
        }
        self.end();
    }
}

/// Two ports that nobody holds now.
pub fn free_ports() -> [u16; 2] {
    let hold = || TcpListener::bind(("0.0.0.0", 0)).expect("a free port exists");
    let held = [hold(), hold()];
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}
