//! How the program ends.

use std::fmt::Display;
use std::process::ExitCode;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Fine = 0,
    Failed = 1,
    /// Bad configuration, bad usage, or a host that cannot run it.
    Usage = 2,
}

impl Exit {
    /// Says why, in one line on standard error.
    pub(crate) fn because(self, why: &dyn Display) -> Self {
        eprintln!("ringtail: {why}");
        self
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
