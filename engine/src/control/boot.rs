//! `ringtail serve`, from a checked configuration to the exit code.
//!
//! Core:    the thread of the program becomes the control core; each shard gets a thread.
//! Always:  the host is checked and the store locked before anything of it is read; no shard serves
//!          before all have recovered.

use super::cluster::Watch;
use super::config::Settings;
use super::exit::Exit;
use super::fleet::{Fleet, Stage};
use super::house::{self, Allowances, Folder};
use super::metrics::statsd;
use super::place::{self, Plan};
use super::shutdown::{self, Cause};
use super::{admin, catalogue, returning};
use crate::kafka;
use crate::limit;
use crate::log::format::StoreId;
use crate::log::format::superblock::Superblock;
use crate::log::store::StoreError;
use crate::route::Table;
use crate::rt::executor::{self, Handle, Task, spawn_local};
use crate::rt::mailbox::mailbox;
use crate::rt::stream::{self, Listener, any_address};
use crate::rt::wake::Signals;
use crate::rt::{self, host};
use crate::shard::claims::NameKeys;
use crate::shard::mail::Order;
use crate::shard::peers::{self, Ends};
use crate::shard::volumes::Volumes;
use crate::shard::{self, Neighbour, Start};
use crate::unit::{JournalId, ShardId};
use catalogue::Keeper;
use futures_util::future::{self, Either};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Why the program could not start, or not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Change the host or the configuration.
    #[error(transparent)]
    Host(#[from] rt::Error),
    #[error("shard.cpus, control.cpu, publisher.kafka.cpus: {0}")]
    Place(#[from] place::Absent),
    /// Stop the other process, or use another folder.
    #[error("the store in {0} is in use by another process: stop that one, or set log.volumes")]
    Locked(PathBuf),
    #[error("log.volumes names no folder")]
    NoVolume,
    #[error("the store in {folder}: {source}")]
    Store { folder: PathBuf, source: StoreError },
    #[error(transparent)]
    Catalogue(#[from] catalogue::Error),
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    #[error("signals cannot be heard: {0}")]
    Signals(std::io::Error),
}

impl Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Place(_)
            | Self::Host(
                rt::Error::RingsRefused { .. }
                | rt::Error::CpuNotAllowed { .. }
                | rt::Error::LimitTooLow { .. }
                | rt::Error::FileSystem { .. },
            )
            | Self::Kafka(kafka::Error::Property { .. } | kafka::Error::Start(_))
            | Self::Store {
                source: StoreError::SegmentBytes { .. },
                ..
            } => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// Runs until a signal, or a failure, ends it. `notices` are said once.
pub(super) fn serve(settings: &Settings, notices: &[String], allowances: &Allowances) -> Exit {
    say_on_standard_error(settings.level);
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let exit = check_and_run(settings, allowances);
    exit.unwrap_or_else(|error| error.exit().because(&error))
}

fn say_on_standard_error(level: tracing::Level) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

fn check_and_run(settings: &Settings, allowances: &Allowances) -> Result<Exit, Error> {
    host::check_rings()?;
    let plan = place::plan(&settings.shards, settings.control_cpu, host::allowed_cpus())?;
    raise_limits(plan.shards.len())?;
    let ports = [settings.shard.net.port, settings.admin_port];
    for port in ports.into_iter().chain(settings.shard.net.grpc_port) {
        stream::probe_patiently(any_address(port))?;
    }
    // Events that go to Kafka leave nothing here.
    let folders = match settings.shard.kafka {
        None => house::lock_all(&settings.shard.log.volumes, allowances)?,
        Some(_) => Vec::new(),
    };
    let control = executor::Plan::control(plan.control);
    executor::block_on(&control, run(settings, folders, allowances, plan))?
}

/// Memory that the control core and so many shards lock, in bytes.
pub(super) fn locked_bytes(shards: usize) -> u64 {
    let of_shard = executor::Plan::shard(0, None).io_memory_bytes;
    let of_control = executor::Plan::control(None).io_memory_bytes;
    host::locked_bytes(std::iter::repeat_n(of_shard, shards).chain([of_control]))
}

fn raise_limits(shards: usize) -> Result<(), Error> {
    let locked = host::raise_locked_memory(locked_bytes(shards))?;
    let files = host::raise_open_files(limit::OPEN_FILES_WANTED, limit::OPEN_FILES_MIN)?;
    for shortage in locked.into_iter().chain(files) {
        tracing::warn!("{shortage}");
    }
    Ok(())
}

/// The control core's life.
async fn run(
    settings: &Settings,
    folders: Vec<Folder>,
    allowances: &Allowances,
    plan: Plan,
) -> Result<Exit, Error> {
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    // They hold the locks, for as long as this runs.
    let folders = Rc::new(folders);
    let house = House::open(settings, &folders, allowances, &plan).await?;
    let fleet = Fleet::new(plan.shards.len(), Arc::clone(&house.table));
    let listener = Listener::bind(any_address(settings.admin_port))?;
    let _admin = admin::serve(listener, Rc::clone(&fleet), settings);
    let statsd = settings.statsd.clone();
    let statsd = statsd.map(|to| Rc::new(statsd::Sender::new(Rc::clone(&fleet), to)));
    let _sending = statsd.clone().map(|sender| spawn_local(sender.run()));
    let _topics = house.topics.start(&fleet);
    let _cluster = house.watch_for_spool(settings, &fleet);
    let mut shards = Vec::new();
    let name_keys = NameKeys::default();
    let ends = peers::between(plan.shards.len());
    let ways = ways(settings, &plan).into_iter().zip(ends);
    for ((index, cpu), (neighbours, ends)) in (0..).map(ShardId).zip(&plan.shards).zip(ways) {
        let peers = (ends, name_keys.clone(), neighbours);
        shards.push(start_shard(settings, &house, &fleet, (index, *cpu), peers).await?);
    }
    if let Topics::Kept(keeper) = &house.topics {
        keeper.background.start(|rest| {
            returning::serve(
                settings.clone(),
                Rc::clone(&folders),
                Rc::clone(&fleet),
                Rc::clone(keeper),
                rest,
            )
        });
    }
    let started = shutdown::unless_signalled(&mut signals, open_doors(&fleet)).await;
    let cause = match started {
        Some(Ok(())) => {
            if let Topics::Kept(keeper) = &house.topics {
                keeper.want_letters(&fleet);
                keeper.bury_earlier(&fleet).await;
            }
            tell_shards(settings, &plan, &fleet);
            house.tell_kafka(settings);
            shutdown::cause(&mut signals, &fleet).await
        }
        Some(Err(failure)) => Cause::Failure(failure),
        None => Cause::Signal,
    };
    let spool = settings.shard.spool.as_ref();
    let kafka = settings.shard.kafka.as_ref();
    let kafka = kafka.or(spool.map(|spool| &spool.kafka));
    let flush_wait = kafka.map_or(Duration::ZERO, |kafka| kafka.flush_wait);
    let grace = settings.shard.drain_window + settings.shard.drain_grace + flush_wait;
    // The shards are asked for their last numbers before they are told to drain, and not waited for.
    let last_numbers = pin!(async {
        if let Some(sender) = &statsd {
            sender.send().await;
        }
    });
    let drained = pin!(shutdown::drain(&mut signals, &fleet, &cause, grace));
    let exit = match future::select(last_numbers, drained).await {
        Either::Left(((), drained)) => drained.await,
        Either::Right((exit, _)) => exit,
    };
    if exit == Exit::Fine {
        house.topics.stop().await;
        shards.into_iter().for_each(Handle::join);
    }
    Ok(match &cause {
        Cause::Failure(failure) => exit.because(failure),
        Cause::Signal => exit,
    })
}

/// For each shard the ways to the others, if they have anything to say to each other.
fn ways(settings: &Settings, plan: &Plan) -> Vec<Vec<Neighbour>> {
    let dedupe = settings.shard.dedupe.as_ref();
    if dedupe.is_some_and(|dedupe| dedupe.across_connections) {
        shard::neighbourhood(plan.shards.len())
    } else {
        plan.shards.iter().map(|_| Vec::new()).collect()
    }
}

/// Every shard has recovered, then every shard serves.
async fn open_doors(fleet: &Fleet) -> Result<(), super::fleet::Failure> {
    fleet.reached(Stage::Opened).await?;
    fleet.order_all(|| Order::Serve).await;
    fleet.reached(Stage::Serving).await
}

fn tell_shards(settings: &Settings, plan: &Plan, fleet: &Fleet) {
    for (shard, cpu) in (0..).map(ShardId).zip(&plan.shards) {
        let journals: Vec<u32> = fleet.journals(shard).iter().map(|one| one.0).collect();
        tracing::info!("shard {}: CPU {cpu}, journals {journals:?}", shard.0);
    }
    let control = plan.control.map(|cpu| format!("CPU {cpu}"));
    tracing::info!(
        "control: {}",
        control.as_deref().unwrap_or("no CPU of its own")
    );
    let (events, admin) = (settings.shard.net.port, settings.admin_port);
    let grpc = settings.shard.net.grpc_port;
    let grpc = grpc.map_or_else(String::new, |port| format!(" (gRPC on {port})"));
    tracing::info!("ready: events on port {events}{grpc}, admin on port {admin}");
}

/// What the control core has of the store, or of Kafka in its place.
struct House {
    /// `None`: events go to Kafka, and there is none.
    store: Option<Superblock>,
    volumes: Volumes,
    topics: Topics,
    /// Beside the store: the cluster that its events are forwarded to.
    beside: Option<Rc<Watch>>,
    /// Where librdkafka's threads run.
    kafka_cpus: Vec<usize>,
    table: Arc<Table>,
}

/// Who makes topics.
enum Topics {
    Kept(Rc<Keeper>),
    Watched(Rc<Watch>),
}

impl Topics {
    fn start(&self, fleet: &Rc<Fleet>) -> Task<()> {
        match self {
            Self::Kept(keeper) => spawn_local(Rc::clone(keeper).serve(Rc::clone(fleet))),
            Self::Watched(watch) => spawn_local(Rc::clone(watch).serve(Rc::clone(fleet))),
        }
    }

    async fn stop(&self) {
        if let Self::Kept(keeper) = self {
            keeper.stop().await;
        }
    }
}

impl House {
    /// Opens the store on its volumes, and reads its topics.
    async fn open(
        settings: &Settings,
        folders: &[Folder],
        allowances: &Allowances,
        plan: &Plan,
    ) -> Result<Self, Error> {
        if let Some(kafka) = &settings.shard.kafka {
            return Self::of_kafka(settings, kafka, plan);
        }
        let shards = plan.shards.len() as u32;
        let house::Store { opened, volumes } =
            house::open(settings, folders, allowances, shards).await?;
        let store = opened.superblock;
        let (keeper, table) = Keeper::open(store.store, &settings.shard, &volumes).await?;
        let (mut beside, mut kafka_cpus) = (None, Vec::new());
        if let Some(spool) = &settings.shard.spool {
            kafka_cpus = cpus_of_kafka(settings, plan)?;
            let topics_max = settings.shard.route.client_topics_max;
            let watch = Watch::open(&spool.kafka, &kafka_cpus, topics_max)?;
            beside = Some(Rc::new(watch));
        }
        Ok(Self {
            store: Some(store),
            volumes,
            topics: Topics::Kept(Rc::new(keeper)),
            beside,
            kafka_cpus,
            table: Arc::new(table),
        })
    }

    fn watch_for_spool(&self, settings: &Settings, fleet: &Rc<Fleet>) -> Option<Task<()>> {
        let (watch, spool) = (self.beside.clone()?, settings.shard.spool.as_ref()?);
        let letters = spool.letters.clone();
        Some(spawn_local(watch.serve_spool(Rc::clone(fleet), letters)))
    }

    fn of_kafka(settings: &Settings, kafka: &kafka::Settings, plan: &Plan) -> Result<Self, Error> {
        let cpus = cpus_of_kafka(settings, plan)?;
        let route = &settings.shard.route;
        let watch = Watch::open(kafka, &cpus, route.client_topics_max)?;
        Ok(Self {
            store: None,
            volumes: Volumes::default(),
            table: Arc::new(watch.table(route)),
            topics: Topics::Watched(Rc::new(watch)),
            beside: None,
            kafka_cpus: cpus,
        })
    }

    fn tell_kafka(&self, settings: &Settings) {
        let spool = settings.shard.spool.as_ref();
        let kafka = settings.shard.kafka.as_ref();
        if let Some(kafka) = kafka.or(spool.map(|spool| &spool.kafka)) {
            let way = if spool.is_some() {
                "through the log "
            } else {
                ""
            };
            let cpus: Vec<_> = self.kafka_cpus.iter().map(ToString::to_string).collect();
            let cpus = cpus.join(",");
            let brokers = kafka::properties::find(&kafka.properties, "bootstrap.servers");
            let brokers = brokers.unwrap_or_default();
            tracing::info!(
                "events go {way}to Kafka at {brokers}; librdkafka's threads run on CPUs {cpus}"
            );
        }
    }
}

/// Where librdkafka's threads may run.
fn cpus_of_kafka(settings: &Settings, plan: &Plan) -> Result<Vec<usize>, place::Absent> {
    let mask = host::allowed_cpus();
    place::apart(settings.kafka_cpus.as_deref(), &plan.shards, mask)
}

/// Starts one shard on its CPU and connects its mailboxes.
async fn start_shard(
    settings: &Settings,
    house: &House,
    fleet: &Rc<Fleet>,
    (shard, cpu): (ShardId, usize),
    (peers, name_keys, neighbours): (Ends, NameKeys, Vec<Neighbour>),
) -> Result<Handle<()>, Error> {
    let (give, orders) = mailbox(limit::MAILBOX_DEPTH);
    let (reports, hear) = mailbox(limit::MAILBOX_DEPTH);
    let journals = house.store.as_ref().map_or(0, |store| store.journals);
    let start = Start {
        shard,
        shards: fleet.len() as u32,
        neighbours,
        cpu: Some(cpu),
        settings: settings.shard.clone(),
        store: house.store.as_ref().map_or(StoreId(0), |store| store.store),
        volumes: house.volumes.clone(),
        journals: journals_of(shard, fleet.len(), journals),
        journals_in_store: journals,
        kafka_cpus: house.kafka_cpus.clone(),
        table: fleet.table(),
        orders,
        reports,
        peers,
        name_keys,
    };
    let plan = executor::Plan::shard(shard.0, Some(cpu));
    let handle = executor::start(plan, move || async move {
        shard::run(start).await;
    })?;
    let (give, hear) = future::join(give.connect(), hear.connect()).await;
    fleet.connect(shard, give);
    spawn_local(Rc::clone(fleet).listen(shard, hear)).detach();
    Ok(handle)
}

/// Journal j is served by shard j mod N; the first is the one that the shard writes to.
fn journals_of(shard: ShardId, shards: usize, journals: u32) -> Vec<JournalId> {
    (shard.0..journals).step_by(shards).map(JournalId).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_journal_has_one_shard_and_every_shard_a_journal() {
        let of = |shard| journals_of(ShardId(shard), 2, 5);
        assert_eq!(of(0), [0, 2, 4].map(JournalId));
        assert_eq!(of(1), [1, 3].map(JournalId));
        assert_eq!(journals_of(ShardId(1), 2, 2), [JournalId(1)]);
    }

    #[test]
    fn a_host_that_cannot_run_it_is_a_usage_error_and_a_taken_port_a_failure() {
        let refused = rt::Error::RingsRefused {
            source: std::io::Error::from_raw_os_error(1),
        };
        assert_eq!(Error::from(refused).exit(), Exit::Usage);
        let taken = rt::Error::AddressInUse {
            address: any_address(1),
        };
        assert_eq!(Error::from(taken).exit(), Exit::Failed);
    }
}
