//! A scenario of `ringtail-bench` in which a real broker is killed, stands still, and lets a backlog grow: what is told
//! of it is what happened, and what was acknowledged meanwhile is in Kafka.

use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use serde_json::Value;
use std::fs;

/// A broker starts, and fetching it takes a minute when it is the first time.
const SECONDS_MAX: u32 = 580;
/// Small machines for small brokers, as tests have them.
const JVM: &str = "-Xms96m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1";

const SCENARIO: &str = r#"
    question = "Is anything lost while the broker is away?"
    reading = "Nothing is to be missing."
    [broker]
    run = "broker.sh"
    topics = ["clickstream-bench-0-log"]
    [[target]]
    name = "spool"
    start = "ringtail"
    env = { EVENT_ACK = "1", RINGTAIL_SHARDS = "1", RINGTAIL_LOG_SEGMENT_BYTES = "33554432", PUBLISHER_TYPE = "spool" }
    [load]
    connections = 4
    events = 5
    bytes = "60"
    warmup = 0
    seconds = 5
    [[step]]
    name = "killed"
    happens = { what = "kill", at = 1, lasts = 2 }
    at_most = 1000000
    load = { rate = 1000, verify = true, at-least-once = true, kafka-topics = "clickstream-bench-0-log" }
    [[step]]
    name = "paused"
    happens = { what = "pause", at = 1, lasts = 2 }
    load = { rate = 1000, verify = true, at-least-once = true, kafka-topics = "clickstream-bench-0-log" }
    [[step]]
    name = "drain"
    drain = { fill = 1, live = 0.1 }
    load = { window = 2, seconds = 2 }
"#;

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Runs the scenario: what it printed, and what it wrote.
fn play(scratch: &Scratch) -> (String, Value) {
    let script = program::repository().join("tests/kafka/broker.sh");
    let text = SCENARIO.replace("broker.sh", &script.to_string_lossy());
    let (file, json) = (scratch.join("question.toml"), scratch.join("answer.json"));
    fs::write(&file, text).expect("the scratch folder takes files");
    let mut command = program::clean(&program::built("ringtail-bench"));
    command
        .arg("scenario")
        .arg(&file)
        .arg("--dir")
        .arg(scratch.path())
        .arg("--json")
        .arg(&json)
        .env("CARGO_TARGET_DIR", program::target())
        .env("BROKER_JVM", JVM);
    let finished = program::run(command, scratch.path(), SECONDS_MAX);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let text = fs::read_to_string(json).expect("the bench wrote it");
    let answer = serde_json::from_str(&text).expect("it is JSON");
    (finished.stdout, answer)
}

/// Something happened to somebody for two seconds at least, and the parts of the measured time are all of it.
fn assert_interrupted(result: &Value, what: &str) {
    let told = &result["interruption"];
    let is_control = result["target"] == "spool-control";
    let whom = if is_control { "neighbour" } else { "broker-1" };
    assert_eq!((&told["what"], &told["whom"]), (&what.into(), &whom.into()));
    let (began, ended) = (
        number(&told["began_seconds"]),
        number(&told["ended_seconds"]),
    );
    assert!(1.0 <= began && began + 2.0 <= ended, "{told}");
    let phases = ["before", "during", "after"].map(|phase| &told[phase]);
    let seconds: f64 = phases.iter().map(|phase| number(&phase["seconds"])).sum();
    let intervals = result["publishRate"].as_array().map_or(0, Vec::len);
    assert_eq!(seconds as usize, intervals, "{told}");
    // Every answer of the measured time is in one of them.
    let batches = |phase: &Value| number(&phase["batches_per_second"]) * number(&phase["seconds"]);
    let batches: f64 = phases.into_iter().map(batches).sum();
    assert!(
        (batches - number(&result["batches"])).abs() < 0.5,
        "{result}"
    );
}

fn assert_all_is_there(result: &Value) {
    let (account, totals) = (&result["account"], &result["totals"]);
    assert_eq!(account["missing"], 0, "{account}");
    assert_eq!(account["torn"], 0, "{account}");
    assert_eq!(account["acknowledged"], account["sent"], "{account}");
    assert_eq!(account["acknowledged"], totals["acknowledged"], "{result}");
    assert_eq!(account["stored"], account["sent"], "{account}");
    assert!(0.0 < number(&account["sent"]), "{account}");
}

#[test]
fn a_scenario_takes_its_broker_away_and_accounts_for_what_was_acknowledged() {
    let scratch = Scratch::new("bench-outage");
    let (said, answer) = play(&scratch);
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    let steps: Vec<_> = results.iter().map(|result| &result["workload"]).collect();
    assert_eq!(steps, ["killed", "killed", "paused", "paused", "drain"]);
    for (pair, what) in results.chunks_exact(2).zip(["killed", "paused"]) {
        let targets = (&pair[0]["target"], &pair[1]["target"]);
        assert_eq!(targets, (&"spool-control".into(), &"spool".into()));
        for result in pair {
            assert_interrupted(result, what);
            assert_all_is_there(result);
        }
    }
    let drain = &results[4]["drain"];
    assert!(0.0 < number(&drain["most_events_per_second"]), "{drain}");
    let seen = number(&drain["delivered_events_per_second"]) + number(&drain["left_events"]);
    assert!(0.0 < seen, "{drain}");

    let conclusions = answer["conclusions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert_eq!(conclusions.len(), 3, "{conclusions:?}");
    let p99 = |index: usize| number(&results[index]["latency_us"]["p99"]);
    for (conclusion, first) in conclusions.iter().zip([0, 2]) {
        let wanted = p99(first + 1) / p99(first);
        assert!(
            (number(&conclusion["median"]) - wanted).abs() < 1e-6,
            "{conclusion}"
        );
    }
    assert_eq!(conclusions[0]["at_most"], 1_000_000.0);
    assert!(said.contains("at most 1000000.00 wanted"), "{said}");
    assert!(
        said.contains("happened broker-1 paused from second"),
        "{said}"
    );

    // Nothing is left of brokers and stores.
    let left = fs::read_dir(scratch.path()).expect("it is there").flatten();
    let names = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let left: Vec<_> = names
        .filter(|name| name.starts_with("ringtail-scenario"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
