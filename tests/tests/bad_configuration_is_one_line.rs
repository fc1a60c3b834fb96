//! Bad configuration: the program does not start, and one line names the key, the value and what
//! is wanted.

use ringtail_tests::program;
use ringtail_tests::scratch::Scratch;
use ringtail_tests::server::{Setup, free_ports};
use std::fs;

fn setup(scratch: &Scratch) -> Setup {
    let [port, admin] = free_ports();
    Setup::new(scratch)
        .set("SERVER_WEBSOCKET_PORT", port)
        .set("RINGTAIL_ADMIN_PORT", admin)
}

/// Asserts exit code 2 and a single line on standard error that holds every one of `words`.
fn assert_one_line(finished: &program::Finished, words: &[&str]) {
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let lines: Vec<_> = finished
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let [line] = lines[..] else {
        panic!("wanted one line, not {lines:#?}");
    };
    for word in words {
        assert!(line.contains(word), "{line:?} does not say {word:?}");
    }
}

#[test]
fn a_bad_variable_is_named_with_its_value() {
    let scratch = Scratch::new("bad-variables");
    for (key, value) in [
        ("EVENT_ACK", "2"),
        ("EVENT_ACK", "yes"),
        ("SERVER_WEBSOCKET_PORT", "99999"),
        ("SERVER_WEBSOCKET_PORT", "http"),
        ("RINGTAIL_ADMIN_PORT", "-1"),
        ("RINGTAIL_SHARDS", "many"),
        ("RINGTAIL_SHARDS", "0-"),
        ("RINGTAIL_LOG_FLUSH", "sometimes"),
        ("RINGTAIL_LOG_SEGMENT_BYTES", "1000"),
        ("RINGTAIL_LOG_RETENTION_BYTES", "lots"),
        ("RINGTAIL_MAX_MESSAGE_BYTES", "999999999999"),
        ("SERVER_WEBSOCKET_CONN_ID_HEADER", "no header"),
        ("PUBLISHER_TYPE", "carrier-pigeon"),
    ] {
        let finished = setup(&scratch).set(key, value).refused();
        assert_one_line(&finished, &[key, value]);
        assert!(
            !scratch.join("store").exists(),
            "{key}={value} made a store"
        );
    }
}

#[test]
fn a_processor_that_is_not_there_is_named() {
    let scratch = Scratch::new("bad-processors");
    for (key, value) in [
        ("RINGTAIL_SHARDS", "0,9999"),
        ("RINGTAIL_CONTROL_CPU", "9999"),
    ] {
        let finished = setup(&scratch).set(key, value).refused();
        assert_one_line(&finished, &["CPU 9999"]);
    }
}

#[test]
fn a_bad_file_is_named_with_its_key() {
    let scratch = Scratch::new("bad-files");
    let file = scratch.join("ringtail.toml");
    for (text, words) in [
        ("[log]\nvolums = [\"x\"]\n", &["volums"][..]),
        ("[log]\nsegment_bytes = \"big\"\n", &["segment_bytes"]),
        ("[nothing]\nhere = 1\n", &["nothing"]),
        ("this is not TOML", &["ringtail.toml"]),
    ] {
        fs::write(&file, text).expect("the scratch folder takes files");
        let mut command = setup(&scratch).command();
        command.arg("--config").arg(&file);
        let finished = program::run(command, scratch.path(), 30);
        assert_one_line(&finished, words);
    }
    let mut command = setup(&scratch).command();
    command.arg("--config").arg(scratch.join("absent.toml"));
    let finished = program::run(command, scratch.path(), 30);
    assert_one_line(&finished, &["absent.toml"]);
}

#[test]
fn the_resolved_configuration_tells_where_each_value_came_from() {
    let scratch = Scratch::new("resolved");
    let mut command = program::clean(&program::built("ringtail"));
    command.arg("config").current_dir(scratch.path());
    command.env("EVENT_DISTRIBUTION_PUBLISHER_PATTERN", "mine-%s");
    command.env("RINGTAIL_LOG_VOLUMES", scratch.join("store"));
    let finished = program::run(command, scratch.path(), 30);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let line = |word: &str| {
        let mut lines = finished.stdout.lines();
        let found = lines.find(|line| line.contains(word));
        found.unwrap_or_else(|| panic!("nothing about {word} in {}", finished.stdout))
    };
    assert!(line("mine-%s").contains("EVENT_DISTRIBUTION_PUBLISHER_PATTERN"));
    assert!(line("admin").contains("9090"));
    assert!(line("admin").contains("default"));
}

#[test]
fn raccoons_file_is_read_where_the_program_is_started() {
    let scratch = Scratch::new("raccoons-file");
    let yaml = "server:\n  grpc:\n    port: 7081\nworker:\n  pool_size: 3\nstranger: 1\n";
    fs::write(scratch.join("config.yaml"), yaml).expect("the scratch folder takes files");
    let config = |words: &[&str]| {
        let mut command = program::clean(&program::built("ringtail"));
        command
            .arg("config")
            .args(words)
            .current_dir(scratch.path());
        program::run(command, scratch.path(), 30)
    };
    let all = config(&[]);
    assert_eq!(all.code, Some(0), "{all:?}");
    let mut lines = all.stdout.lines();
    let line = lines.find(|line| line.starts_with("server.grpc.port "));
    assert!(line.is_some_and(|line| line.contains("7081") && line.ends_with("file config.yaml")));
    assert!(all.stderr.contains("WORKER_POOL_SIZE"), "{}", all.stderr);
    assert!(all.stderr.contains("STRANGER"), "{}", all.stderr);

    let one = config(&["--explain", "SERVER_GRPC_PORT"]);
    assert_eq!(one.code, Some(0), "{one:?}");
    assert!(
        one.stdout.contains("7081 (file config.yaml)"),
        "{}",
        one.stdout
    );
    assert_one_line(
        &config(&["--explain", "server.grpc.prt"]),
        &["server.grpc.port"],
    );
    fs::write(scratch.join("config.yaml"), "server: [1\n").expect("it takes files");
    assert_one_line(&config(&[]), &["config.yaml", "YAML"]);
}

#[test]
fn the_readme_names_every_setting() {
    let repository = program::repository();
    let read = |name: &str| fs::read_to_string(repository.join(name)).expect("it is there");
    let (readme, example) = (read("README.md"), read("deploy/ringtail.toml"));
    let is_variable = |word: &&str| {
        let letters = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        word.contains('_') && word.chars().all(letters)
    };
    let words = example.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let variables: Vec<_> = words.filter(is_variable).collect();
    assert!(variables.len() > 20, "the example names next to nothing");
    for variable in variables {
        assert!(
            readme.contains(&format!("`{variable}`")),
            "README.md lacks {variable}"
        );
    }
}
