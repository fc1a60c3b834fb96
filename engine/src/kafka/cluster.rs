//! The control core's view of the cluster: which topics there are, and whether its brokers can be reached.
//!
//! Core:    the control core; each question blocks, and is asked on a helper thread.
//! Full:    one question at a time.

use super::native::Client;
pub use super::native::Metadata;
use super::properties::{self, Property};
use super::{Error, Fault};
use crate::rt::executor::blocking;
use crate::rt::host;

/// A client that only asks.
#[derive(Clone)]
pub struct Cluster(Client);

impl Cluster {
    /// Starts a client with its threads, on these CPUs. Nothing is asked yet.
    pub fn open(properties: &[Property], cpus: &[usize]) -> Result<Self, Error> {
        let conf = properties::conf(properties)?;
        let started = host::on_cpus(cpus, || Client::start(conf, None))?;
        started.map(Self).map_err(Error::Start)
    }

    /// All brokers and topics, or why there is no answer in `wait_ms`.
    pub async fn metadata(&self, wait_ms: i32) -> Result<Metadata, Fault> {
        let client = self.0.clone();
        blocking(move || {
            // What this client has to say, the shards' say too.
            while client.next().is_some() {}
            client.metadata(wait_ms)
        })
        .await
    }

    /// Makes topics, each with so many partitions and replicas. Gives those that were not made, with the reason.
    pub async fn create(
        &self,
        names: Vec<String>,
        shape: (i32, i32),
        wait_ms: i32,
    ) -> Result<Vec<(String, String)>, String> {
        let client = self.0.clone();
        blocking(move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            client.create(&names, shape, wait_ms)
        })
        .await
    }
}
