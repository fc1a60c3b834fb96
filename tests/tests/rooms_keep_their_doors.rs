//! The house keeps its order: who may import whom, how long things may be, what lies at the root.
//!
//! The table here and the one in `engine/src/lib.rs` say the same; this one is enforced.

use ringtail_tests::program::repository;
use ringtail_tests::tidy::Source;
use std::fs;

/// A room, and what it may import. A friend with `::` opens that door alone.
const DOORS: &[(&str, &[&str])] = &[
    ("unit", &[]),
    ("limit", &["unit"]),
    ("rt", &["unit", "limit"]),
    ("frame", &["unit", "limit"]),
    ("event", &["frame", "unit", "limit"]),
    ("route", &["event", "unit", "limit"]),
    ("log", &["unit", "limit"]),
    ("kafka", &["rt", "unit", "limit"]),
    ("spool", &["kafka", "log", "unit", "limit"]),
    ("ack", &["unit", "limit"]),
    (
        "net",
        &["frame", "event::answer", "ack", "rt", "unit", "limit"],
    ),
    (
        "shard",
        &[
            "rt", "frame", "event", "route", "log", "kafka", "spool", "ack", "net", "unit", "limit",
        ],
    ),
    (
        "control",
        &[
            "shard",
            "rt",
            "log",
            "kafka",
            "spool",
            "route",
            "net::Settings",
            "net::Cors",
            "unit",
            "limit",
        ],
    ),
];

/// Single files with a door that their room has not.
const FILE_DOORS: &[(&str, &str)] = &[("engine/src/log/disk.rs", "rt")];

/// Rooms where a word may stand; everywhere else in the engine it may not.
const WORDS: &[(&str, &[&str])] = &[
    ("glommio", &["rt"]),
    ("rdkafka_sys", &["kafka"]),
    ("ringtail_proto", &["event", "net", "control"]),
    ("Mutex", &["control"]),
    ("RwLock", &["control"]),
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// Longer all the same, each with its reason. A row that is no longer needed is refused.
const LONG_FILES: &[&str] = &[];
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

const ROOT: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "deploy",
    "engine",
    "perf",
    "proto",
    "tests",
];
const CRATES: &[&str] = &["bench", "engine", "proto", "tests"];

fn everything() -> Vec<Source> {
    let repository = repository();
    let all = CRATES
        .iter()
        .flat_map(|folder| Source::all(&repository, folder));
    let all: Vec<_> = all.collect();
    assert!(all.len() > 30, "the sources were not found");
    all
}

fn room_of(source: &Source) -> &str {
    let inside = source.path.strip_prefix("engine/src/").unwrap_or("");
    let room = inside.split('/').next().unwrap_or("");
    room.trim_end_matches(".rs")
}

/// Paths in `source` that lead through a door its room has not.
fn strangers(source: &Source) -> Vec<String> {
    let room = room_of(source);
    let friends = DOORS.iter().find(|(name, _)| *name == room);
    let friends = friends.map_or(&[][..], |(_, friends)| *friends);
    let own = FILE_DOORS.iter().filter(|(file, _)| *file == source.path);
    let opens = |friend: &str, path: &str| {
        let rest = path.strip_prefix(friend);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let mut paths = source.paths_from_root();
    paths.retain(|path| {
        let friendly = friends.iter().any(|friend| opens(friend, path));
        let at_home = opens(room, path) || own.clone().any(|(_, friend)| opens(friend, path));
        !friendly && !at_home
    });
    paths
}

#[test]
fn every_room_imports_only_its_friends() {
    let mut found = Vec::new();
    for source in everything() {
        let room = room_of(&source);
        if room.is_empty() || ["lib", "main"].contains(&room) {
            continue;
        }
        let known = DOORS.iter().any(|(name, _)| *name == room);
        assert!(known, "{} is in no room of the table", source.path);
        for stranger in strangers(&source) {
            found.push(format!("{} imports {stranger}", source.path));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_program_knows_only_the_control_room() {
    let repository = repository();
    let main = fs::read_to_string(repository.join("engine/src/main.rs")).expect("it is there");
    let main = Source::new("engine/src/main.rs", &main);
    let doors = main.code.matches("ringtail::").count();
    assert_eq!(doors, main.code.matches("ringtail::control::").count());
    assert!(
        main.raw.lines().count() < 50,
        "main.rs is for arguments and exit codes"
    );
}

#[test]
fn some_words_stay_in_their_room() {
    for source in everything() {
        let room = room_of(&source);
        for (word, rooms) in WORDS {
            let allowed = room.is_empty() || rooms.contains(&room);
            assert!(
                allowed || !source.names(word),
                "{} names {word}",
                source.path
            );
        }
    }
    for folder in CRATES.iter().filter(|folder| **folder != "engine") {
        let manifest = repository().join(folder).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("each crate has a manifest");
        assert!(!manifest.contains("glommio"), "{folder} depends on glommio");
    }
}

#[test]
fn files_and_functions_can_be_seen_whole() {
    let (mut long_files, mut long_functions) = (Vec::new(), Vec::new());
    let sources = everything();
    for source in &sources {
        if source.lines_without_tests() > FILE_LINES_MAX {
            long_files.push(source.path.as_str());
        }
        for function in source.functions() {
            if function.body_lines > FUNCTION_LINES_MAX {
                long_functions.push((source.path.as_str(), function.name));
            }
        }
    }
    let long_functions: Vec<_> = long_functions
        .iter()
        .map(|(path, name)| (*path, name.as_str()))
        .collect();
    assert_eq!(
        long_files, LONG_FILES,
        "files over {FILE_LINES_MAX} lines without tests"
    );
    assert_eq!(
        long_functions, LONG_FUNCTIONS,
        "functions over {FUNCTION_LINES_MAX} lines"
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    for source in everything() {
        let said = source.raw.starts_with("//!") || source.is_test_module();
        assert!(said, "{} has no module doc", source.path);
    }
}

#[test]
fn nothing_is_left_to_do() {
    for source in everything() {
        for mark in ["todo!", "dbg!", "unimplemented!"] {
            assert!(!source.code.contains(mark), "{} has a {mark}", source.path);
        }
    }
}

#[test]
fn every_crate_takes_the_lints_and_the_versions_of_the_workspace() {
    for folder in CRATES {
        let manifest = repository().join(folder).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("each crate has a manifest");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{folder} has lints of its own"
        );
        let sections = manifest
            .split("\n[")
            .filter(|part| part.contains("dependencies]\n"));
        for line in sections
            .flat_map(|part| part.lines().skip(1))
            .filter(|line| line.contains('='))
        {
            assert!(
                line.contains("workspace = true"),
                "{folder} pins its own: {line}"
            );
        }
    }
}

#[test]
fn the_root_shows_what_is_prescribed() {
    let entries = fs::read_dir(repository()).expect("the repository is there");
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    names.sort();
    assert_eq!(names, ROOT);
}

// ---- that it bites ----

fn strangers_in(path: &str, code: &str) -> Vec<String> {
    strangers(&Source::new(path, code))
}

#[test]
fn a_door_that_is_not_in_the_table_is_found() {
    let in_frame = |code| strangers_in("engine/src/frame/buffer.rs", code);
    assert_eq!(in_frame("use crate::log::Settings;"), ["log::Settings"]);
    assert_eq!(in_frame("fn f() { crate::net::go(1) }"), ["net::go"]);
    assert_eq!(
        in_frame("use crate::{limit, rt::{file, wake}};"),
        ["rt::file", "rt::wake"]
    );
    assert_eq!(in_frame("use super::super::rt;"), ["rt"]);
    assert_eq!(in_frame("use crate as house;"), ["crate as"]);
    assert!(in_frame("use crate::limit; use super::websocket; // crate::log").is_empty());
    assert!(in_frame("const S: &str = \"crate::log\"; mod t { use super::super::F; }").is_empty());

    let answer = "use crate::event::{answer::Code, Batch};";
    assert_eq!(
        strangers_in("engine/src/net/http.rs", answer),
        ["event::Batch"]
    );
    assert_eq!(
        strangers_in("engine/src/log/mod.rs", "use super::rt::file;"),
        ["rt::file"]
    );
    assert!(strangers_in("engine/src/log/disk.rs", "use crate::rt::file;").is_empty());
}

#[test]
fn length_is_counted_without_being_fooled() {
    let long = "    let x = '}'; // }\n".repeat(FUNCTION_LINES_MAX + 1);
    let code = format!("/* fn no() {{ */ fn short() {{}}\nfn long<'a>(s: &'a str) {{\n{long}}}\n");
    let source = Source::new("engine/src/unit.rs", &code);
    let functions = source.functions();
    let lengths: Vec<_> = functions
        .iter()
        .map(|found| (found.name.as_str(), found.body_lines))
        .collect();
    assert_eq!(lengths, [("short", 0), ("long", FUNCTION_LINES_MAX + 1)]);

    let tested = Source::new(
        "engine/src/unit.rs",
        "//! x\n#[cfg(test)]\nmod tests {\n\n\n}\nfn f() {}\n",
    );
    assert_eq!(tested.lines_without_tests(), 2);
    assert!(Source::new("engine/src/ack/mod.rs", "use glommio::Task;").names("glommio"));
    assert!(
        !Source::new(
            "engine/src/ack/mod.rs",
            "// glommio\nlet r = r#\"glommio\"#;"
        )
        .names("glommio")
    );
}
