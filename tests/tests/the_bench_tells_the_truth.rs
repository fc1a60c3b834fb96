//! `ringtail-bench` against the running program: what it says was sent, answered and kept is what
//! was, in every protocol and every kind of load; and a server that lies is found out.

use ringtail_tests::journal;
use ringtail_tests::program::{self, Finished};
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Server, Setup, free_ports};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

/// Runs the bench with words split at blanks.
fn bench(scratch: &Scratch, words: &str) -> Finished {
    let mut command = program::clean(&program::built("ringtail-bench"));
    command.args(words.split_whitespace());
    program::run(command, scratch.path(), 120)
}

fn kept(scratch: &Scratch, words: &str) -> Finished {
    let finished = bench(scratch, words);
    assert_eq!(finished.code, Some(0), "{words}: {finished:?}");
    finished
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("the bench wrote it");
    serde_json::from_str(&text).expect("it is JSON")
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// A server, and one run against it: the result.
fn run(scratch: &Scratch, server: &Server, scheme: &str, words: &str) -> Value {
    let url = format!("{scheme}://127.0.0.1:{}/api/v1/events", server.port);
    run_at(scratch, &url, words)
}

fn run_at(scratch: &Scratch, url: &str, words: &str) -> Value {
    let json = scratch.join("result.json");
    let words = format!("load --url {url} {words} --json {}", json.display());
    kept(scratch, &words);
    read(&json)
}

/// The two ways of gRPC, as schemes.
const GRPC: [&str; 2] = ["grpc", "grpc-stream"];

#[test]
fn what_was_acknowledged_is_read_back_from_the_store_and_from_the_running_server() {
    let scratch = Scratch::new("bench-verify");
    let server = Setup::new(&scratch).set("RINGTAIL_SHARDS", 2).start();
    let store = scratch.join("store");
    let shape = "--connections 6 --events 7 --bytes 60@3,1500@1 --types 5 --zipf 0.9 --warmup 0 \
                 --seconds 60 --batches 40 --verify";
    for scheme in ["ws", "http"] {
        let volumes = format!("{shape} --volumes {}", store.display());
        let admin = format!("{shape} --admin 127.0.0.1:{}", server.admin);
        for words in [&volumes, &admin] {
            let result = run(&scratch, &server, scheme, words);
            let account = &result["account"];
            assert_eq!(account["sent"], 240, "{account}");
            assert_eq!(account["acknowledged"], 240, "{account}");
            assert_eq!(account["stored"], 240, "{account}");
            assert_eq!(account["missing"], 0, "{account}");
            assert_eq!(account["duplicated_events"], 0, "{account}");
            assert_eq!(account["out_of_order_events"], 0, "{account}");
        }
    }
    let record = scratch.join("record");
    let words = format!(
        "{shape} --volumes {} --record {}",
        store.display(),
        record.display()
    );
    run(&scratch, &server, "ws", &words);
    server.stop();
    let verify = format!(
        "verify --record {} --volumes {}",
        record.display(),
        store.display()
    );
    kept(&scratch, &format!("{verify} --among-others"));
    // Without that word, what other runs left is nobody's.
    let alone = bench(&scratch, &verify);
    assert_eq!(alone.code, Some(1), "{alone:?}");
    let account: Value = serde_json::from_str(&alone.stdout).expect("it is JSON");
    assert_eq!(
        (&account["missing"], &account["invented_events"]),
        (&0.into(), &(4 * 240 * 7).into())
    );
    let stored: usize = journal::values(&store).values().map(Vec::len).sum();
    assert_eq!(stored, 5 * 240 * 7);
}

#[test]
fn an_open_loop_sends_what_was_asked_and_tells_its_delays() {
    let scratch = Scratch::new("bench-open");
    let server = Setup::new(&scratch).start();
    for scheme in ["ws", "http"] {
        let words = "--connections 8 --events 5 --rate 2000 --warmup 0 --seconds 3 --arrivals poisson --run 7";
        let result = run(&scratch, &server, scheme, words);
        let open = &result["open_loop"];
        // 1200 batches in three seconds at random: four standard deviations are 139.
        let intended = number(&open["intended"]);
        assert!((1_061.0..1_339.0).contains(&intended), "{open}");
        let sent = number(&result["totals"]["sent"]) + number(&open["unsent"]);
        assert!(intended <= sent, "{result}");
        assert_eq!(result["mode"], "open");
        assert_eq!(result["publishRate"].as_array().map(Vec::len), Some(3));
        assert!(number(&result["aggregatedPublishLatency99pct"]) > 0.0);
    }
    server.stop();
}

#[test]
fn what_grpc_acknowledged_is_read_back_whether_in_calls_or_in_one_stream() {
    let scratch = Scratch::new("bench-grpc");
    let [port, _] = free_ports();
    let server = Setup::new(&scratch)
        .set("RINGTAIL_SHARDS", 2)
        .set("SERVER_GRPC_PORT", port)
        .start();
    let words = format!(
        "--connections 5 --window 3 --events 7 --bytes 60@3,1500@1 --types 5 --warmup 0 --seconds 60 \
         --batches 40 --verify --volumes {}",
        scratch.join("store").display()
    );
    for scheme in GRPC {
        let result = run_at(&scratch, &format!("{scheme}://127.0.0.1:{port}"), &words);
        let account = &result["account"];
        assert_eq!(account["acknowledged"], 200, "{account}");
        assert_eq!(account["stored"], 200, "{account}");
        assert_eq!(account["missing"], 0, "{account}");
        assert_eq!(account["duplicated_events"], 0, "{account}");
    }
    // Without a record a window beyond what the server lets in at once is no error, nor is an open loop.
    for scheme in GRPC {
        let url = format!("{scheme}://127.0.0.1:{port}");
        let shape = "--connections 2 --warmup 0 --seconds 60 --batches 500";
        let result = run_at(&scratch, &url, &format!("{shape} --window 300"));
        assert_eq!(result["totals"]["acknowledged"], 1_000, "{result}");
        let result = run_at(&scratch, &url, &format!("{shape} --rate max"));
        assert_eq!(result["totals"]["acknowledged"], 1_000, "{result}");
        let open = "--connections 4 --events 5 --rate 2000 --warmup 0 --seconds 2";
        let open = &run_at(&scratch, &url, open)["open_loop"];
        let intended = number(&open["intended"]);
        assert!((795.0..805.0).contains(&intended), "{open}");
    }
    server.stop();
}

#[test]
fn a_call_that_fails_is_a_refusal_with_its_status() {
    let scratch = Scratch::new("bench-grpc-refused");
    let [port, _] = free_ports();
    let server = Setup::new(&scratch).set("SERVER_GRPC_PORT", port).start();
    let json = scratch.join("result.json");
    let words = format!(
        "load --url grpc://127.0.0.1:{port} --connections 2 --events 5 --bytes 1000000 --warmup 0 \
         --seconds 60 --batches 3 --json {}",
        json.display()
    );
    let finished = bench(&scratch, &words);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let result = read(&json);
    // RESOURCE_EXHAUSTED is 8.
    assert_eq!(result["totals"]["refused_by_code"]["108"], 6, "{result}");
    assert_eq!(result["totals"]["lost_connections"], 0, "{result}");
    server.stop();
}

#[test]
fn more_than_can_be_sent_is_counted_and_not_left_out() {
    let scratch = Scratch::new("bench-overload");
    let server = Setup::new(&scratch).start();
    // One connection with one request at a time cannot carry a million batches a second.
    let words = "--connections 1 --events 1 --rate 1000000 --warmup 0 --seconds 2";
    let result = run(&scratch, &server, "http", words);
    let open = &result["open_loop"];
    assert!(number(&open["intended"]) > 1_999_000.0, "{open}");
    assert!(number(&open["unsent"]) > 0.0, "{open}");
    assert!(number(&open["late"]) > 0.0, "{open}");
    // Most of the two seconds are in the latency of those that waited.
    assert!(
        number(&result["latency_us"]["max"]) > 1_000_000.0,
        "{result}"
    );
    server.stop();
}

#[test]
fn storms_break_connections_off_and_nothing_acknowledged_is_lost_by_them() {
    let scratch = Scratch::new("bench-storm");
    let server = Setup::new(&scratch).set("RINGTAIL_SHARDS", 2).start();
    let words = format!(
        "--connections 20 --window 4 --events 3 --bytes 300 --warmup 0 --seconds 4 --ramp-up 1 \
         --storm-every 2 --storm-percent 50 --sources 3 --verify --volumes {}",
        scratch.join("store").display()
    );
    let result = run(&scratch, &server, "ws", &words);
    let openings = &result["openings"];
    assert!(number(&openings["broken_off"]) >= 10.0, "{openings}");
    // All but the first were opened under load, and those that broke off came back.
    assert!(number(&openings["opened"]) >= 19.0, "{openings}");
    assert_eq!(result["account"]["missing"], 0, "{result}");
    server.stop();
}

/// A server that acknowledges and forgets.
struct Null {
    child: Child,
    url: String,
}

impl Null {
    fn start(runtime: &str) -> Self {
        let mut child = program::clean(&program::built("ringtail-bench"))
            .args(["null", "--listen", "127.0.0.1:0", "--runtime", runtime])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bench was found");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line
            .strip_prefix("listening on ")
            .and_then(|rest| rest.split(',').next());
        let url = format!(
            "{}/api/v1/events",
            address.expect("it says where it listens")
        );
        Self { child, url }
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_that_forgets_is_found_out() {
    let scratch = Scratch::new("bench-liar");
    // The store is another server's: nothing of the run is in it.
    let honest = Setup::new(&scratch).start();
    for runtime in ["ringtail", "tokio"] {
        let liar = Null::start(runtime);
        let words = format!(
            "load --url ws://{} --connections 2 --warmup 0 --seconds 60 --batches 10 --verify --admin 127.0.0.1:{}",
            liar.url, honest.admin
        );
        let finished = bench(&scratch, &words);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(
            finished
                .stdout
                .contains("20 acknowledged, 0 stored, 20 missing"),
            "{finished:?}"
        );
    }
    honest.stop();
}

#[test]
fn targets_are_measured_in_turn_compared_and_drawn() {
    let scratch = Scratch::new("bench-compare");
    let server = Setup::new(&scratch).start();
    let (one, two) = (Null::start("ringtail"), Null::start("tokio"));
    let (json, hlog) = (scratch.join("all.json"), scratch.join("all.hlog"));
    let words = format!(
        "load --target kept=ws://127.0.0.1:{}/api/v1/events --target floor=http://{} \
         --target tokio=ws://{} --rounds 2 --connections 4 --warmup 0 --seconds 1 --json {} --hlog {}",
        server.port,
        one.url,
        two.url,
        json.display(),
        hlog.display()
    );
    let said = kept(&scratch, &words).stdout;
    assert!(
        said.contains("A = kept (2 repetitions), B = tokio (2)"),
        "{said}"
    );
    let results = read(&json)["results"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let order: Vec<_> = results
        .iter()
        .map(|result| result["target"].clone())
        .collect();
    assert_eq!(order, ["kept", "floor", "tokio", "kept", "floor", "tokio"]);
    assert_eq!(results[1]["protocol"], "Rest");

    let log = fs::read_to_string(&hlog).expect("the bench wrote it");
    assert_eq!(
        log.lines()
            .filter(|line| line.starts_with("Tag=kept-"))
            .count(),
        2,
        "{log}"
    );

    let compared = kept(&scratch, &format!("compare {} --json", json.display())).stdout;
    let rows: Vec<Value> = compared
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(rows.len(), 8);
    assert!(
        rows.iter().all(|row| row["ratio_low"].is_number()),
        "{compared}"
    );

    let page = scratch.join("page.html");
    kept(
        &scratch,
        &format!("report {} --output {}", json.display(), page.display()),
    );
    let page = fs::read_to_string(page).expect("the bench wrote it");
    assert!(
        page.matches("<svg").count() >= 7 && page.contains("floor"),
        "{page}"
    );
    assert!(
        !page.contains("http-equiv") && !page.contains("src="),
        "it loads nothing"
    );
    server.stop();
}

#[test]
fn a_scenario_asks_measures_and_says_how_to_read_the_answer() {
    let scratch = Scratch::new("bench-scenario");
    let (file, json) = (scratch.join("question.toml"), scratch.join("answer.json"));
    let text = r#"
        question = "Does keeping cost anything?"
        reading = "The floor forgets."
        rounds = 2
        [[target]]
        name = "ringtail"
        start = "ringtail"
        env = { EVENT_ACK = "1", RINGTAIL_SHARDS = "1", RINGTAIL_LOG_SEGMENT_BYTES = "33554432" }
        [[target]]
        name = "floor"
        start = "null"
        [load]
        connections = 4
        warmup = 0
        seconds = 1
        [[step]]
        name = "maximum"
        [[step]]
        name = "half"
        rate_of = { step = "maximum", part = 0.5 }
        [[step]]
        name = "idle"
        kind = "idle"
        load = { connections = 50, hold-seconds = 0 }
    "#;
    fs::write(&file, text).expect("the scratch folder takes files");
    let words = format!(
        "scenario {} --dir {} --json {}",
        file.display(),
        scratch.path().display(),
        json.display()
    );
    let said = kept(&scratch, &words).stdout;
    assert!(said.starts_with("Does keeping cost anything?"), "{said}");
    assert!(said.ends_with("The floor forgets.\n"), "{said}");
    assert!(said.contains("ringtail: alive 50 lost 0"), "{said}");
    let results = read(&json)["results"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert_eq!(results.len(), 8);
    assert!(number(&results[0]["server"]["resident_kib"]) > 1_000.0);
    let asked = number(&results[4]["open_loop"]["asked_events_per_second"]);
    let mean = |target: usize| {
        let rate = |index: usize| number(&results[index]["events_per_second"]);
        f64::midpoint(rate(target), rate(target + 2))
    };
    let slowest = mean(0).min(mean(1));
    assert!(
        (asked - slowest / 2.0).abs() < 1.0,
        "{asked} is not half of {slowest}"
    );
    // Nothing is left of the stores.
    let left = fs::read_dir(scratch.path()).expect("it is there").flatten();
    let left = left.filter(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with("ringtail-scenario")
    });
    assert_eq!(left.count(), 0);
}
