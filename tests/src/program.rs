//! Finding what was built, and running it with a bound on its time.

use crate::wait;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests/ lies in the repository").into()
}

/// Cargo's folder for built things (`target`), where these tests were built.
pub fn target() -> PathBuf {
    profile().parent().expect("target/<profile>").into()
}

fn profile() -> PathBuf {
    let me = std::env::current_exe().expect("the kernel knows this program");
    let deps = me.parent().expect("a test lies in target/<profile>/deps");
    deps.parent().expect("target/<profile>").into()
}

/// A program of this workspace, built by the command that built this test.
///
/// # Panics
/// When it is not there: `cargo test` builds a package's programs only for its own tests.
pub fn built(name: &str) -> PathBuf {
    let path = profile().join(name);
    assert!(
        path.is_file(),
        "{} is missing: run tests/run.sh, or `cargo build --workspace` before `cargo test`",
        path.display()
    );
    path
}

/// Python with the foreign clients' libraries.
///
/// # Panics
/// When `tests/run.sh` has not made it.
pub fn python() -> PathBuf {
    let path = target().join("tests-venv/bin/python");
    assert!(
        path.is_file(),
        "{} is missing: run tests/run.sh, which makes it from tests/python/requirements.txt",
        path.display()
    );
    path
}

/// A command whose environment holds nothing that could configure the engine.
pub fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    for key in ["PATH", "HOME", "LANG", "TMPDIR"] {
        if let Some(value) = std::env::var_os(key) {
            command.env(key, value);
        }
    }
    command
}

/// What a finished program left.
#[derive(Debug)]
pub struct Finished {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` to its end, at most `seconds` long; its output goes by way of files in `folder`,
/// so that no pipe can fill up.
///
/// # Panics
/// When it does not end in time (it is killed first).
pub fn run(mut command: Command, folder: &Path, seconds: u32) -> Finished {
    let (out, err) = (folder.join("run.stdout"), folder.join("run.stderr"));
    command.stdout(fs::File::create(&out).expect("the scratch folder takes files"));
    command.stderr(fs::File::create(&err).expect("the scratch folder takes files"));
    let mut child = command.spawn().expect("the program was found");
    let mut status = None;
    for _ in 0..seconds * 100 {
        status = child.try_wait().expect("our own child can be waited for");
        if status.is_some() {
            break;
        }
        wait::pause();
    }
    let read =
        |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        panic!(
            "{command:?} did not end in {seconds} seconds: {}",
            read(&err)
        );
    };
    Finished {
        code: status.code(),
        stdout: read(&out),
        stderr: read(&err),
    }
}

/// Runs a program of the system as root: directly, or through `sudo` where that asks nothing.
pub fn as_root<S: AsRef<OsStr>>(words: &[S]) -> Result<String, String> {
    let root = rustix::process::geteuid().is_root();
    let (first, rest) = words.split_first().ok_or("no program was named")?;
    let mut command = Command::new(if root {
        first.as_ref()
    } else {
        "sudo".as_ref()
    });
    if !root {
        command.arg("-n").arg(first);
    }
    let output = command.args(rest).stdin(Stdio::null()).output();
    let name = first.as_ref().to_string_lossy();
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{name} failed ({}): {}",
            output.status,
            said.trim()
        ))
    }
}
