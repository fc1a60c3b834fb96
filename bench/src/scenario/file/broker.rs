//! The broker of a scenario, and what may happen to it.

use std::path::PathBuf;

use serde::Deserialize;

/// More than any question of ours needs on one machine.
const BROKERS_MAX: u32 = 5;

/// Brokers that are started for the scenario and ended with it, or one that runs already.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::scenario) struct Broker {
    /// The script that fetches, plans and runs one, such as tests/kafka/broker.sh; from the scenario's folder.
    pub(in crate::scenario) run: Option<PathBuf>,
    /// Where brokers are that run already: `host:port`, several divided by commas.
    pub(in crate::scenario) address: Option<String>,
    /// How many are started, as one cluster.
    #[serde(default = "super::one")]
    pub(in crate::scenario) count: u32,
    /// Cores that each of them is confined to.
    #[serde(default)]
    pub(in crate::scenario) cpu: Vec<usize>,
    /// By how much they yield to others, from 0 to 19.
    #[serde(default)]
    pub(in crate::scenario) nice: u8,
    /// Made before the first step, with the broker's own numbers of partitions and copies.
    #[serde(default)]
    pub(in crate::scenario) topics: Vec<String>,
}

/// How a broker goes away.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(in crate::scenario) enum Away {
    /// `kill -9`; it comes back by being started again.
    Kill,
    /// It stands still (SIGSTOP), its connections open, and goes on.
    #[default]
    Pause,
}

/// What happens to the broker while a load is on; in the control of the same round it happens to a broker that the
/// server has nothing to do with.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::scenario) struct Happens {
    pub(in crate::scenario) what: Away,
    /// From the beginning of the measured time, in seconds.
    pub(in crate::scenario) at: u64,
    /// In seconds.
    pub(in crate::scenario) lasts: u64,
}

/// A backlog that grows while the brokers are away, and drains while events come in.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::scenario) struct Drain {
    #[serde(default)]
    pub(in crate::scenario) away: Away,
    /// For how long, in seconds: a closed loop finds the maximum meanwhile.
    pub(in crate::scenario) fill: u64,
    /// What comes in while it drains: a part of that maximum.
    pub(in crate::scenario) live: f64,
}

impl Broker {
    /// One that runs already.
    pub(in crate::scenario) fn at(address: &str) -> Self {
        Self {
            run: None,
            address: Some(address.to_owned()),
            count: 1,
            cpu: Vec::new(),
            nice: 0,
            topics: Vec::new(),
        }
    }

    pub(super) fn sensible(&self) -> Result<(), String> {
        if self.run.is_some() == self.address.is_some() {
            return Err("[broker]: give either run (a script) or address".into());
        }
        if !(1..=BROKERS_MAX).contains(&self.count) {
            return Err(format!("[broker]: count is 1 to {BROKERS_MAX}"));
        }
        if 19 < self.nice {
            return Err("[broker]: nice is 0 to 19".into());
        }
        Ok(())
    }
}

impl Happens {
    /// Whether it fits into the measured time with a second on either side to compare it with.
    pub(in crate::scenario) fn sensible(&self, seconds: u64) -> Result<(), String> {
        let ends = self.at.saturating_add(self.lasts);
        if self.at == 0 || self.lasts == 0 || seconds <= ends {
            return Err(format!(
                "what happens from second {} to {ends} wants at least a second before it and one behind it, but {seconds} are \
                 measured: change at, lasts or seconds",
                self.at
            ));
        }
        Ok(())
    }
}

impl Drain {
    pub(in crate::scenario) fn sensible(&self) -> Result<(), String> {
        if self.fill == 0 || !(0.0 < self.live && self.live < 1.0) {
            return Err(
                "drain: fill is at least 1 second, live is a part above 0 and below 1".into(),
            );
        }
        Ok(())
    }
}
