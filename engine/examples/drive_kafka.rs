//! Sends records to Kafka as fast as its brokers take them: by librdkafka alone, or by the engine's writer on an
//! executor. `perf/scenarios/kafka_writer.toml` sets the one beside the other.
//!
//! ```text
//! cargo run --release --example drive_kafka -- --brokers 127.0.0.1:9092 --topic t alone
//! ```
//!
//! The topic must be there. The figures are one JSON object; records count when they are delivered, and `processor` is the part
//! of one core that the whole process used.

use clap::{Parser, ValueEnum};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use ringtail::kafka::properties::Property;
use ringtail::kafka::writer::{Mark, Record, Word, Writer};
use ringtail::rt::executor::{Plan, block_on, yield_if_needed};
use ringtail::rt::host;
use ringtail::unit::{Micros, TopicIndex};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records that are sent before the reports are looked at.
const RECORDS_AT_ONCE: u64 = 512;

/// Measures one way of sending to Kafka.
#[derive(Parser)]
struct Arguments {
    way: Way,
    /// Where the cluster is.
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    topic: String,
    /// Length of each record.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Records that may wait for their delivery.
    #[arg(long, default_value_t = 100_000)]
    window: u64,
    /// Not measured, at the beginning.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Measured time.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// `rdkafka`'s producer in a loop, and nothing else.
    Alone,
    /// The engine's writer, woken as in a shard.
    Writer,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.way {
        Way::Alone => alone(&arguments),
        Way::Writer => writer(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drive_kafka: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The same for both ways: what the engine sets by itself when the operator sets nothing.
fn properties(arguments: &Arguments) -> [(&'static str, String); 3] {
    [
        ("bootstrap.servers", arguments.brokers.clone()),
        ("acks", "all".to_owned()),
        ("enable.idempotence", "true".to_owned()),
    ]
}

fn seconds_of(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What was delivered, and what it took.
#[derive(Clone, Copy)]
struct Moment {
    wall: f64,
    processor: f64,
    delivered: u64,
}

impl Moment {
    fn now(delivered: u64) -> Self {
        Self {
            wall: seconds_of(ClockId::Monotonic),
            processor: seconds_of(ClockId::ProcessCPUTime),
            delivered,
        }
    }
}

/// Says when to begin to count and when to stop.
struct Meter {
    warmup: f64,
    seconds: f64,
    began: f64,
    first: Option<Moment>,
}

impl Meter {
    fn new(arguments: &Arguments) -> Self {
        Self {
            warmup: arguments.warmup,
            seconds: arguments.seconds,
            began: seconds_of(ClockId::Monotonic),
            first: None,
        }
    }

    /// Prints the figures and says so when the time is over.
    fn is_over(&mut self, delivered: u64) -> bool {
        let now = seconds_of(ClockId::Monotonic);
        let Some(first) = self.first else {
            if self.began + self.warmup <= now {
                self.first = Some(Moment::now(delivered));
            }
            return false;
        };
        if now < first.wall + self.seconds {
            return false;
        }
        let last = Moment::now(delivered);
        let records = (last.delivered - first.delivered) as f64;
        let (wall, processor) = (last.wall - first.wall, last.processor - first.processor);
        println!(
            "{{\"seconds\":{wall:.3},\"records_per_second\":{:.0},\"processor\":{:.3},\"processor_us_per_record\":{:.3}}}",
            records / wall,
            processor / wall,
            1e6 * processor / records.max(1.0)
        );
        true
    }
}

/// Counts what came back.
#[derive(Default)]
struct Count {
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = match result {
            Ok(_) => &self.delivered,
            Err(_) => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn alone(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut config = ClientConfig::new();
    for (name, value) in properties(arguments) {
        config.set(name, value);
    }
    config.set("queue.buffering.max.messages", arguments.window.to_string());
    config.set("queue.buffering.max.kbytes", "2147483647");
    let producer: BaseProducer<Count> = config.create_with_context(Count::default())?;
    let value = vec![b'r'; arguments.bytes];
    let delivered = || producer.context().delivered.load(Ordering::Relaxed);
    let mut meter = Meter::new(arguments);
    while !meter.is_over(delivered()) {
        for _ in 0..RECORDS_AT_ONCE {
            let record = BaseRecord::<(), _>::to(&arguments.topic).payload(&value);
            match producer.send(record) {
                Ok(()) => {}
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(1));
                    break;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60))?;
    match producer.context().failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        failed => Err(format!("{failed} records were not delivered").into()),
    }
}

fn writer(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let plan = Plan::small("writer");
    host::raise_locked_memory(host::locked_bytes([plan.io_memory_bytes]))?;
    block_on(&plan, write(arguments))?
}

async fn write(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let property = |(name, value): (&str, String)| Property {
        name: name.into(),
        value: value.into(),
    };
    let properties = properties(arguments).map(property);
    let (writer, mut bell) = Writer::open(&properties, host::allowed_cpus())?;
    let value = vec![b'r'; arguments.bytes];
    let record = Record {
        key: &[],
        value: &value,
        headers: &[],
        timestamp_ms: 0,
    };
    let mark = Mark {
        request: 0,
        event: 0,
        topic: TopicIndex(0),
    };
    let mut delivered = 0;
    let mut meter = Meter::new(arguments);
    let mut is_over = false;
    while !is_over || 0 < writer.outstanding() {
        is_over = is_over || meter.is_over(delivered);
        let now = Micros((seconds_of(ClockId::Monotonic) * 1e6) as u64);
        let room = arguments.window.saturating_sub(writer.outstanding());
        let more = if is_over {
            0
        } else {
            room.min(RECORDS_AT_ONCE)
        };
        for _ in 0..more {
            let sent = writer.send(now, &arguments.topic, &record, mark);
            sent.map_err(ringtail::kafka::Fault::text)?;
        }
        if more == 0 {
            bell.rung().await?;
        }
        while let Some(word) = writer.next(now) {
            if let Word::Settled(settled) = word {
                if let Some(fault) = settled.fault {
                    return Err(fault.text().into());
                }
                delivered += 1;
            }
        }
        yield_if_needed().await;
    }
    Ok(())
}
