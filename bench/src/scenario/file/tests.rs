//! What a scenario may say, and in which words it is told what it may not.

use super::*;

const FILE: &str = r#"
    question = "How fast?"
    reading = "More is better."
    rounds = 3
    [[target]]
    name = "a"
    start = "null-tokio"
    cpu = [0]
    [load]
    seconds = 5
    cpu = [1]
    [[step]]
    name = "maximum"
    vary = { events = [1, 10], bytes = ["200", "100..300"] }
    [[step]]
    name = "flat"
    load = { seconds = 1, verify = false }
    [[step]]
    name = "half"
    rate_of = { step = "flat", part = 0.5 }
"#;

fn parse(text: &str) -> Result<Scenario, FileError> {
    super::parse(text, Path::new("x.toml"))
}

#[test]
fn a_step_is_spread_over_all_combinations() {
    let scenario = parse(FILE).unwrap();
    let steps = scenario.step[0].spread();
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names[0], "maximum bytes=200 events=1");
    assert_eq!(names[3], "maximum bytes=100..300 events=10");
    let flags = steps[3].flags(&scenario.load);
    assert_eq!(
        flags,
        [
            "--bytes",
            "100..300",
            "--cpu",
            "1",
            "--events",
            "10",
            "--seconds",
            "5"
        ]
    );
    let flags = scenario.step[1].flags(&scenario.load);
    assert_eq!(flags, ["--cpu", "1", "--seconds", "1"]);
}

#[test]
fn what_makes_no_sense_is_told_in_words() {
    let wrong = |from: &str, to: &str| parse(&FILE.replace(from, to)).unwrap_err().to_string();
    assert!(wrong("start = \"null-tokio\"", "").contains("either start or url"));
    assert!(wrong("step = \"flat\"", "step = \"maximum\"").contains("no earlier step"));
    assert!(wrong("part = 0.5", "part = 1.5").contains("above 0 and at most 1"));
    assert!(wrong("rounds = 3", "rounds = 0").contains("at least one"));
    assert!(wrong("rounds = 3", "round = 3").contains("unknown field"));
    let start = "start = \"null-tokio\"";
    let with = |more: &str| format!("{start}\n{more}");
    assert!(wrong(start, &with("volumes = 2")).contains("only ringtail has some"));
    assert!(wrong(start, &with("protocol = \"grpc\"")).contains("of ours only ringtail speaks"));
    assert!(wrong(start, "start = \"ringtail\"\nvolumes = 9").contains("1 to 8"));
}

const BROKER: &str = r#"
    question = "What is it worth?"
    reading = "Less is better."
    [broker]
    run = "broker.sh"
    [[target]]
    name = "spool"
    start = "ringtail"
    [load]
    seconds = 20
    [[step]]
    name = "killed"
    happens = { what = "kill", at = 5, lasts = 14 }
    at_most = 1.5
    [[step]]
    name = "drain"
    drain = { fill = 5, live = 0.25 }
    at_least = 2.0
"#;

#[test]
fn a_broker_may_go_away_under_a_load() {
    let scenario = parse(BROKER).unwrap();
    let [killed, drain] = &scenario.step[..] else {
        panic!("there are two steps");
    };
    let happens = killed.happens.unwrap();
    assert_eq!(
        (happens.what, happens.at, happens.lasts),
        (Away::Kill, 5, 14)
    );
    assert_eq!(drain.drain.unwrap().away, Away::Pause);
    assert_eq!((killed.at_most, drain.at_least), (Some(1.5), Some(2.0)));
}

#[test]
fn what_cannot_happen_is_told_with_what_to_change() {
    let wrong = |from: &str, to: &str| {
        assert!(BROKER.contains(from), "{from}");
        parse(&BROKER.replace(from, to)).unwrap_err().to_string()
    };
    let broker = "run = \"broker.sh\"";
    assert!(wrong(broker, "").contains("either run (a script) or address"));
    let runs_already = wrong(broker, "address = \"h:1\"");
    assert!(
        runs_already.contains("step killed: only a broker that the scenario starts"),
        "{runs_already}"
    );
    assert!(wrong(broker, "run = \"b\"\ncount = 9").contains("count is 1 to 5"));
    assert!(wrong(broker, "run = \"b\"\nnice = 20").contains("nice is 0 to 19"));
    let too_long = wrong("lasts = 14", "lasts = 15");
    assert!(
        too_long.contains("change at, lasts or seconds"),
        "{too_long}"
    );
    assert!(wrong("at = 5", "at = 0").contains("a second before it"));
    assert!(wrong("\"kill\"", "\"vanish\"").contains("unknown variant"));
    assert!(wrong("live = 0.25", "live = 1.0").contains("below 1"));
    let rate = wrong("drain = {", "load = { rate = 5 }\n    drain = {");
    assert!(rate.contains("leave rate out"), "{rate}");
    assert!(wrong("drain = {", "kind = \"idle\"\ndrain = {").contains("no other kind"));
    assert!(wrong("drain = { fill = 5, live = 0.25 }", "").contains("come to no ratio"));
    assert!(
        wrong("name = \"drain\"", "name = \"drain\"\nkind = \"program\"").contains("no other kind")
    );
}

const PROGRAMS: &str = r#"
    question = "Is it as fast as a loop?"
    reading = "More is better."
    [[target]]
    name = "alone"
    program = "examples/drive_kafka"
    words = ["alone", "--brokers", "{broker}"]
    [[step]]
    name = "speed"
    kind = "program"
    figure = "records_per_second"
"#;

#[test]
fn programs_are_compared_by_a_figure() {
    let scenario = parse(PROGRAMS).unwrap();
    assert_eq!(
        scenario.step[0].figure.as_deref(),
        Some("records_per_second")
    );
    let wrong = |from: &str, to: &str| parse(&PROGRAMS.replace(from, to)).unwrap_err().to_string();
    assert!(wrong("kind = \"program\"", "").contains("figure is what programs are compared by"));
    assert!(wrong("figure = ", "# ").contains("figure is what programs are compared by"));
    assert!(
        wrong("program = \"examples/drive_kafka\"", "start = \"null\"")
            .contains("targets with a program")
    );
    assert!(
        wrong("[[step]]", "url = \"ws://h:1\"\n[[step]]")
            .contains("either start or url, or a program")
    );
}
