//! Load with a record of what was sent and answered, and the account of it against a store.
//!
//! The record is kept by the load driver, outside of the engine, in a file that is written before anything that
//! follows from it reaches a socket.

use crate::journal;
use crate::program;
use crate::scratch::Scratch;
use crate::server::{Server, Setup};
use crate::wait;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What the driver's exit code says when the server went away, as it should here.
const SERVER_GONE: i32 = 3;

/// What was sent in all rounds.
pub struct Account<'a> {
    scratch: &'a Scratch,
    record: PathBuf,
    /// What the driver is told beside what it always is.
    more: &'static [&'static str],
}

impl<'a> Account<'a> {
    pub fn new(scratch: &'a Scratch) -> Self {
        let record = scratch.join("record");
        Self {
            scratch,
            record,
            more: &[],
        }
    }

    /// The same with 7000 events a second, 9 MB, instead of as many as there can be: for what may take minutes, on a disk that
    /// others need, too.
    pub fn gentle(scratch: &'a Scratch) -> Self {
        Self {
            more: &["--rate", "7000"],
            ..Self::new(scratch)
        }
    }

    fn driver(&self, word: &str) -> Command {
        let mut command = program::clean(&program::built("ringtail-bench"));
        command.arg(word).arg("--record").arg(&self.record);
        command
    }

    fn recorded(&self) -> u64 {
        fs::metadata(&self.record).map_or(0, |data| data.len())
    }

    fn start_load(&self, server: &Server) -> Child {
        let said = fs::File::create(self.scratch.join("load.said"));
        let said = said.expect("the scratch folder takes files");
        let same = said.try_clone().expect("a file can be held twice");
        self.driver("load")
            .args([
                "--url",
                &format!("ws://127.0.0.1:{}/api/v1/events", server.port),
            ])
            .args(["--connections", "8", "--window", "4"])
            .args(["--events", "7", "--bytes", "1200", "--types", "3"])
            .args(["--warmup", "0", "--seconds", "600"])
            .args(self.more)
            .stdout(said)
            .stderr(same)
            .spawn()
            .expect("the driver was found")
    }

    /// One round: starts, loads, kills with -9 so long after the first requests, and has the driver's word that
    /// the server went away. `meanwhile` is called under load, before the wait.
    ///
    /// # Panics
    /// When the driver saw anything else.
    pub fn load_and_kill(&self, setup: &Setup, after_ms: u64, meanwhile: impl FnOnce(&Server)) {
        let known = self.recorded();
        let server = setup.start();
        let mut load = self.start_load(&server);
        // The run's own line is shorter than this: something was sent.
        wait::until("the driver to send", 30, || {
            (self.recorded() > known + 200).then_some(())
        });
        meanwhile(&server);
        wait::some_milliseconds(after_ms);
        server.kill();
        let status = wait::until("the driver to see that the server is gone", 30, || {
            load.try_wait().expect("our own child can be waited for")
        });
        let said = fs::read_to_string(self.scratch.join("load.said")).unwrap_or_default();
        assert_eq!(
            status.code(),
            Some(SERVER_GONE),
            "the driver: {status}: {said}"
        );
    }

    /// Compares the record with what `log cat` prints of the volume.
    ///
    /// # Panics
    /// When anything acknowledged is missing, torn, twice or out of order, or anything is there that was not sent.
    pub fn assert_kept_by(&self, volume: &Path) {
        let mut cat = journal::command("cat", volume)
            .args(["--format", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was found");
        let mut check = self.driver("check");
        check.stdin(cat.stdout.take().expect("it is piped"));
        let finished = program::run(check, self.scratch.path(), 120);
        let status = cat.wait().expect("our own child can be waited for");
        assert!(status.success(), "log cat: {status}");
        assert_eq!(
            finished.code,
            Some(0),
            "{}{}",
            finished.stdout,
            finished.stderr
        );
    }
}
