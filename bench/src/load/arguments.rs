//! What `load` can be told.

use std::{path::PathBuf, str::FromStr, time::Duration};

use serde::Serialize;

use crate::{
    check::ReadBack,
    mix::{Mix, Sizes},
    record::TYPES_MAX,
};

const URL: &str = "ws://127.0.0.1:8080/api/v1/events";

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct Arguments {
    /// Where the server takes events: ws://host:port/path, ws-deflate://host:port/path (WebSocket with
    /// permessage-deflate, as the server must be set to take it), http://host:port/path (REST),
    /// grpc://host:port (a call for each batch) or grpc-stream://host:port (one call for all).
    #[arg(long, default_value = URL)]
    pub(super) url: String,
    /// A server by name, such as a=ws://127.0.0.1:8080/api/v1/events; several are measured in turn,
    /// A B A B, as often as --rounds says.
    #[arg(long, value_name = "NAME=URL")]
    pub(super) target: Vec<Named>,
    /// The process behind a target, such as a=4711: its processor time and memory go into the result.
    #[arg(long, value_name = "NAME=PID")]
    pub(super) watch: Vec<Watched>,
    /// How often each target is measured.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rounds: u32,
    /// What the load is called in results.
    #[arg(long, default_value = "load")]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) pace: PaceArguments,
    #[command(flatten)]
    pub(super) crowd: CrowdArguments,
    #[command(flatten)]
    pub(super) content: ContentArguments,
    #[command(flatten)]
    pub(super) output: OutputArguments,
}

/// How fast, how long, and by whom.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub(super) struct PaceArguments {
    /// Events each second, over all connections: an open loop, with latency from the moment at which
    /// each batch was meant to be sent. `max`: as much as the sockets take. Without it: a closed loop.
    #[arg(long, value_name = "EVENTS|max")]
    pub(super) rate: Option<Rate>,
    /// When the batches of an open loop are meant to be sent.
    #[arg(long, value_enum, default_value_t = Arrivals::Even)]
    pub(super) arrivals: Arrivals,
    /// A batch of an open loop that is sent later than this is counted as late.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 1_000)]
    pub(super) late_us: u64,
    /// Batches outstanding on each connection of a closed loop; 16 when not given, always 1 for REST. A gRPC
    /// server bounds the calls of a connection.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) window: Option<u32>,
    /// Pause of a connection of a closed loop between an answer and the next batch.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    pub(super) think_us: u64,
    /// Measured time.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,
    /// Time under load before the measuring starts, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(super) warmup: u64,
    /// End after this many batches on each connection, if that comes before the time is up.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    pub(super) batches: u64,
    /// Driver threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: u16,
    /// Cores for the threads, in turn; without it the threads run where the system puts them.
    #[arg(long, value_delimiter = ',')]
    pub(super) cpu: Vec<usize>,
}

/// Who connects, and how.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub(super) struct CrowdArguments {
    /// Connections, over all threads.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) connections: u32,
    /// Open the connections one after the other over this time, in seconds, within the warm-up.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(super) ramp_up: u64,
    /// Every so many seconds a share of the connections breaks off and comes back at once.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) storm_every: Option<u64>,
    /// That share, in percent.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(super) storm_percent: u8,
    /// Loopback addresses (127.0.0.1 and up) that connections come from in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub(super) sources: u8,
    /// The header that tells the server who is connecting.
    #[arg(long, default_value = "X-User-ID")]
    pub(super) id_header: String,
    /// Different ids; connections beyond them need groups to be told apart. As many as connections
    /// when not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) ids: Option<u32>,
    /// The header that tells the server the group of who is connecting.
    #[arg(long)]
    pub(super) group_header: Option<String>,
    /// Different groups.
    #[arg(long, default_value_t = 1, requires = "group_header", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) groups: u32,
}

/// What is sent.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub(super) struct ContentArguments {
    /// Events in each batch.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=65_536))]
    pub(super) events: u32,
    /// Payload of each event, in bytes: 200, or 100..300, or 200@9,4000@1 (sizes and weights).
    #[arg(long, default_value = "200")]
    pub(super) bytes: Sizes,
    /// Event types. Without --zipf all come equally often: in turn within a batch that has room for
    /// all of them, else at random.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(TYPES_MAX)))]
    pub(super) types: u32,
    /// Zipf's exponent for the types: the first come most often. 0: all come equally often.
    #[arg(long, default_value_t = 0.0, value_parser = parse_skew)]
    pub(super) zipf: f64,
    /// Types are named after this, with a dash and a number.
    #[arg(long, default_value = "bench")]
    pub(super) type_prefix: String,
    /// Number of the first round's run, in every event and every identity; random when not given.
    #[arg(long)]
    pub(super) run: Option<u64>,
}

/// What is left behind.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub(super) struct OutputArguments {
    /// Append an account of every batch to this file, for `check` and `verify`.
    #[arg(long)]
    pub(super) record: Option<PathBuf>,
    /// Read the log back after each run and settle the account; needs --volumes or --admin.
    #[arg(long)]
    pub(super) verify: bool,
    #[command(flatten)]
    pub(super) read_back: ReadBack,
    /// Write the result to this file, as JSON.
    #[arg(long)]
    pub(super) json: Option<PathBuf>,
    /// Write the latencies of each second to this file, as an HdrHistogram log.
    #[arg(long)]
    pub(super) hlog: Option<PathBuf>,
}

fn parse_skew(text: &str) -> Result<f64, String> {
    let skew = text.parse().ok();
    let within = skew.filter(|skew| (0.0..=10.0).contains(skew));
    within.ok_or_else(|| "a number from 0 to 10 is wanted".to_owned())
}

/// A server and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) url: String,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split_once('=').filter(|(name, _)| {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            !name.is_empty() && name.chars().all(plain)
        });
        let (name, url) = named.ok_or("a target is NAME=URL; a name has letters, digits, - _ .")?;
        Ok(Self {
            name: name.to_owned(),
            url: url.to_owned(),
        })
    }
}

/// A process on this machine, and the target that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Watched {
    name: String,
    process: u32,
}

impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=');
        let read = parts.and_then(|(name, process)| Some((name.to_owned(), process.parse().ok()?)));
        let (name, process) = read.ok_or("a process is NAME=PID, by its target's name")?;
        Ok(Self { name, process })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rate {
    Max,
    /// Above 0.
    EventsPerSecond(f64),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let rate = text.parse().ok();
        let rate = rate.filter(|rate: &f64| 0.0 < *rate && rate.is_finite());
        let rate = rate.ok_or("a rate is a number of events each second above 0, or `max`")?;
        Ok(Self::EventsPerSecond(rate))
    }
}

/// When the batches of an open loop are meant to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Arrivals {
    /// One after the other at equal distances.
    Even,
    /// At random, as from many devices that know nothing of each other.
    Poisson,
}

impl Arguments {
    /// The servers to measure; one without a name is called by its URL's place, `target`.
    pub(super) fn targets(&self) -> Vec<Named> {
        if self.target.is_empty() {
            let (name, url) = ("target".to_owned(), self.url.clone());
            return vec![Named { name, url }];
        }
        self.target.clone()
    }

    /// The process behind a target, if we were told.
    pub(super) fn process_of(&self, target: &str) -> Option<u32> {
        let mut watched = self.watch.iter();
        let found = watched.find(|watched| watched.name == target)?;
        Some(found.process)
    }

    pub(super) fn mix(&self) -> Mix {
        let content = &self.content;
        Mix::new(
            content.bytes.clone(),
            content.events,
            content.types,
            content.zipf,
        )
    }

    /// How long is measured.
    pub(crate) fn seconds(&self) -> Duration {
        Duration::from_secs(self.pace.seconds)
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.output.record.is_some() || self.output.verify
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_name_and_an_address() {
        let named: Named = "old=ws://127.0.0.1:1/x?a=b".parse().unwrap();
        assert_eq!(
            (named.name.as_str(), named.url.as_str()),
            ("old", "ws://127.0.0.1:1/x?a=b")
        );
        for text in ["ws://127.0.0.1:1", "=ws://x", "a b=ws://x"] {
            assert!(text.parse::<Named>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_above_nothing() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("1e6".parse(), Ok(Rate::EventsPerSecond(1e6)));
        for text in ["0", "-1", "inf", "nan", "fast"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
