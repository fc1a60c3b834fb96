//! The flags that set configuration keys, shared by `serve` and `config`.

use crate::control::config::{Configuration, Error, Layers};
use clap::Args;
use std::path::PathBuf;

/// Flags are the last layer: default, then file, then environment, then these.
#[derive(Args, Debug)]
pub(super) struct Configured {
    /// File with the configuration: TOML (`ringtail config --example` prints one), or Raccoon's YAML by
    /// its name; without this, config.yaml where the program is started, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Port of WebSocket and REST [server.websocket.port].
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Port of health, metrics and reading back [admin.port].
    #[arg(long, value_name = "PORT")]
    admin_port: Option<String>,
    /// Folders that each hold a copy of the store [log.volumes].
    #[arg(long, value_name = "DIR[,DIR…]")]
    volumes: Option<String>,
    /// Shards: auto, a count, or the CPUs they run on, such as 0,2-5 [shard.cpus].
    #[arg(long, value_name = "SHARDS")]
    shards: Option<String>,
    /// CPU of the control core, or auto [control.cpu].
    #[arg(long, value_name = "CPU")]
    control_cpu: Option<String>,
    /// When a batch is answered: 1 when it is durable, 0 when it is received [event.ack].
    #[arg(long, value_name = "0|1")]
    ack: Option<String>,
    /// How much is said on standard error: debug, info, warn, error [log.level].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any other key, such as --set log.segment_bytes=64MiB; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Configured {
    /// Reads all layers.
    pub(super) fn resolve(self) -> Result<Configuration, Error> {
        let flags = [
            ("--port", "server.websocket.port", self.port),
            ("--admin-port", "admin.port", self.admin_port),
            ("--volumes", "log.volumes", self.volumes),
            ("--shards", "shard.cpus", self.shards),
            ("--control-cpu", "control.cpu", self.control_cpu),
            ("--ack", "event.ack", self.ack),
            ("--log-level", "log.level", self.log_level),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(flag, key, value)| Some((flag, key, value?)));
        Configuration::resolve(Layers {
            file: self.config.or_else(raccoons_file),
            environment: std::env::vars_os().collect(),
            flags: given.collect(),
            sets: self.set,
        })
    }
}

/// Raccoon reads this file when it is there.
fn raccoons_file() -> Option<PathBuf> {
    let path = PathBuf::from("config.yaml");
    path.is_file().then_some(path)
}
