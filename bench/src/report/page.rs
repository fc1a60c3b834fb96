//! The page around the plots: what was measured, where, and in which words it is to be read.

use std::fmt::Write as _;

use super::{Series, by_load, charts, svg::escape};
use crate::{
    compare::{FIGURES, Ratio, Sample},
    outcome::{Conclusion, Outcome},
};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --paper: #ffffff; --faint: #d9dee5; --soft: #5d6b7c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ee; --paper: #14181d; --faint: #303842; --soft: #97a3b1; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.note { color: var(--soft); max-width: 48rem; }
figure { margin: 1.6rem 0; } figcaption { font-weight: 600; margin-bottom: .3rem; }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--soft); } svg text.value { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--faint); fill: none; } .band { fill: var(--faint); opacity: .25; }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round; } .thin { stroke-width: 1; opacity: .55; }
.whisker { stroke: var(--ink); stroke-width: 1.5; fill: none; }
.point { fill: var(--paper); stroke: var(--ink); }
.c0 { stroke: #2f6fb5; } .c1 { stroke: #d1692a; } .c2 { stroke: #2a9161; } .c3 { stroke: #a04fb4; }
.c4 { stroke: #b8901d; } .c5 { stroke: #c2415b; } .c6 { stroke: #3b98a6; } .c7 { stroke: #77808b; }
.b0 { fill: #2f6fb5; background: #2f6fb5; } .b1 { fill: #d1692a; background: #d1692a; }
.b2 { fill: #2a9161; background: #2a9161; } .b3 { fill: #a04fb4; background: #a04fb4; }
.b4 { fill: #b8901d; background: #b8901d; } .b5 { fill: #c2415b; background: #c2415b; }
.b6 { fill: #3b98a6; background: #3b98a6; } .b7 { fill: #77808b; background: #77808b; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .85rem; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--faint); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.warn { color: #c2415b; } code { font-size: .85em; overflow-wrap: anywhere; }
";

/// The whole page.
pub(super) fn page(title: &str, series: &[Series<'_>], conclusions: &[Conclusion]) -> String {
    let title = escape(title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    out += "<p class=\"note\">Latency runs from the moment a batch was sent, or in an open loop was \
            <em>meant</em> to be sent, to the moment its answer was read. Whiskers are 95 % intervals \
            of the mean over repetitions; where they overlap widely a difference may be noise, and the \
            table of ratios says whether it is. A single repetition has no interval.</p>\n";
    if !conclusions.is_empty() {
        out += "<h2>What the steps came to</h2>\n";
        out += &concluded(conclusions);
    }
    out += "<h2>Results</h2>\n";
    out += &results(series);
    let groups = by_load(series);
    if 1 < groups.len() {
        out += "<h2>All loads</h2>\n";
        let all: Vec<_> = series.iter().collect();
        out += &charts::comparisons(&all);
    }
    for group in &groups {
        out += &load(group);
    }
    out += "<h2>Where and how</h2>\n";
    out += &circumstances(series);
    out += "</body></html>\n";
    out
}

/// What got the same load.
fn load(series: &[&Series<'_>]) -> String {
    let mut out = format!("<h2>Load: {}</h2>\n", escape(series[0].load));
    if 1 < series.len() {
        out += &ratios(series);
    }
    out += &charts::comparisons(series);
    out += &charts::latency_by_percentile(series);
    out += &charts::latency_over_time(series);
    out += &charts::throughput_over_time(series);
    out
}

fn results(series: &[Series<'_>]) -> String {
    let heads = [
        "target",
        "round",
        "load",
        "connections",
        "batch",
        "events/s",
        "MB/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "max µs",
        "errors",
        "driver",
        "remarks",
    ];
    let mut out = table_head(&heads);
    for series in series {
        for outcome in &series.outcomes {
            out += &result(&series.name, outcome);
        }
    }
    out + "</table></div>\n"
}

/// Ratios beside what was wanted of them.
fn concluded(conclusions: &[Conclusion]) -> String {
    let mut out = table_head(&["step", "ratio", "median", "wanted", "each round"]);
    for one in conclusions {
        let wanted = match (one.at_least, one.at_most) {
            (Some(bound), _) => format!("at least {bound:.2}"),
            (None, Some(bound)) => format!("at most {bound:.2}"),
            (None, None) => String::new(),
        };
        let rounds: Vec<_> = one
            .ratios
            .iter()
            .map(|ratio| format!("{ratio:.2}"))
            .collect();
        let row = format!(
            "<tr><td>{}</td><td>{}</td><td>{:.2}</td><td>{wanted}</td><td>{}</td></tr>\n",
            escape(&one.step),
            escape(&one.figure),
            one.median,
            rounds.join(", ")
        );
        out += &row;
    }
    out + "</table></div>\n"
}

fn table_head(heads: &[&str]) -> String {
    let cells: String = heads
        .iter()
        .flat_map(|head| ["<th>", head, "</th>"])
        .collect();
    format!("<div class=\"wide\"><table><tr>{cells}</tr>\n")
}

fn result(name: &str, outcome: &Outcome) -> String {
    let latency = outcome.latency_us;
    let totals = &outcome.totals;
    let errors = totals.refused + totals.unanswered + totals.lost_connections as u64;
    let cells = [
        escape(name),
        outcome.round.to_string(),
        outcome.way(),
        outcome.connections.to_string(),
        format!("{} × {} B", outcome.events, outcome.event_bytes),
        format!("{:.0}", outcome.events_per_second),
        format!("{:.1}", outcome.megabytes_per_second),
        latency.p50.to_string(),
        latency.p99.to_string(),
        latency.p999.to_string(),
        latency.max.to_string(),
        errors.to_string(),
        format!("{:.0} %", outcome.driver_busy * 100.0),
    ];
    let each = cells.iter().map(String::as_str);
    let cells: String = each.flat_map(|cell| ["<td>", cell, "</td>"]).collect();
    let remarks = remarks(outcome).join("; ");
    format!(
        "<tr>{cells}<td class=\"warn\">{}</td></tr>\n",
        escape(&remarks)
    )
}

/// What a sceptic should know before believing a row.
fn remarks(outcome: &Outcome) -> Vec<String> {
    let mut remarks = Vec::new();
    remarks.extend(outcome.doubt().map(str::to_owned));
    if let Some(open) = &outcome.open_loop {
        if !open.was_kept() {
            remarks.push(format!("{} batches were not sent", open.unsent));
        }
        if open.late != 0 {
            let late = open.late as f64 / open.intended.max(1) as f64 * 100.0;
            remarks.push(format!(
                "{late:.2} % sent more than {} µs late",
                open.late_us
            ));
        }
    }
    if let Some(phases) = &outcome.interruption {
        remarks.push(format!(
            "{}: p99 {} µs before, {} during, {} after",
            phases.happened,
            phases.before.latency_us.p99,
            phases.during.latency_us.p99,
            phases.after.latency_us.p99
        ));
    }
    if let Some(drain) = &outcome.drain {
        remarks.push(format!(
            "{:.0} events/s delivered, {:.2} for each that came in, {} left",
            drain.delivered_events_per_second, drain.ratio, drain.left_events
        ));
    }
    if let Some(account) = &outcome.account {
        let missing = account.get("missing").and_then(serde_json::Value::as_u64);
        remarks.push(match missing {
            Some(0) => "read back: nothing is missing".to_owned(),
            missing => format!("read back: {} batches are missing", missing.unwrap_or(0)),
        });
    }
    remarks
}

fn ratios(series: &[&Series<'_>]) -> String {
    let mut out = table_head(&[
        "against the first",
        "figure",
        "ratio",
        "95 % interval",
        "difference",
    ]);
    let Some((first, others)) = series.split_first() else {
        return out;
    };
    for other in others {
        for figure in FIGURES {
            let sample = |series: &Series<'_>| {
                Sample::new(series.outcomes.iter().map(|one| (figure.of)(one)))
            };
            let ratio = Ratio::of(&sample(first), &sample(other));
            let (interval, verdict) = match ratio.interval {
                None => (
                    "unknown".to_owned(),
                    "one repetition says nothing about noise",
                ),
                Some((low, high)) => {
                    let noise = low <= 1.0 && 1.0 <= high;
                    let verdict = if noise { "noise" } else { "real" };
                    (format!("{low:.3} to {high:.3}"), verdict)
                }
            };
            let cells = format!(
                "<tr><td>{}</td><td>{}</td><td>{:.3}</td><td>{interval}</td><td>{verdict}</td></tr>\n",
                escape(&other.name),
                figure.name,
                ratio.ratio
            );
            out += &cells;
        }
    }
    out + "</table></div>\n"
}

fn circumstances(series: &[Series<'_>]) -> String {
    let mut out = String::new();
    let mut told = Vec::new();
    for outcome in series.iter().flat_map(|series| &series.outcomes) {
        let host = &outcome.host;
        let lines = format!(
            "<p>{} ({} cores, CPUs {}, {:.0} GiB), Linux {}, driver at commit {}<br><code>{}</code></p>\n",
            escape(&host.cpu),
            host.cores,
            escape(&host.cpu_list),
            host.memory_kib as f64 / f64::from(1 << 20),
            escape(&host.kernel),
            escape(&host.commit),
            escape(&host.command)
        );
        if !told.contains(&lines) {
            told.push(lines);
        }
    }
    for lines in told {
        write!(out, "{lines}").expect("text grows as needed");
    }
    out
}
