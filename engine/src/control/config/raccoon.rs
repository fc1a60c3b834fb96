//! Raccoon's variables that change nothing here, and what an operator is told about them.

/// One reason, and the variables that it holds for; a name that ends in `_` stands for all that
/// start so.
struct Without {
    reason: &'static str,
    names: &'static [&'static str],
}

static WITHOUT_EFFECT: [Without; 4] = [
    Without {
        reason: "ignored, because each shard owns one core and has no pools, channels or fixed buffers to size",
        names: &[
            "SERVER_WEBSOCKET_READ_BUFFER_SIZE",
            "SERVER_WEBSOCKET_WRITE_BUFFER_SIZE",
            "SERVER_WEBSOCKET_PINGER_SIZE",
            "WORKER_BUFFER_CHANNEL_SIZE",
            "WORKER_POOL_SIZE",
            "WORKER_KAFKA_DELIVERY_CHANNEL_SIZE",
            "PUBLISHER_KAFKA_DELIVERY_CHANNEL_SIZE",
        ],
    },
    Without {
        reason: "ignored, because the metrics page is always served and there is no Go runtime to report on",
        names: &[
            "METRIC_PROMETHEUS_ENABLED",
            "METRIC_RUNTIME_STATS_RECORD_INTERVAL_MS",
        ],
    },
    Without {
        reason: "ignored, because Ringtail publishes neither to Pub/Sub nor to Kinesis",
        names: &["PUBLISHER_PUBSUB_", "PUBLISHER_KINESIS_"],
    },
    Without {
        reason: "ignored, because it is a setting of the Go client that Raccoon was built with",
        names: &["PUBLISHER_KAFKA_CLIENT_GO_"],
    },
];

/// One line for each reason that holds for any of `variables`.
pub(super) fn notices(variables: &[&str]) -> Vec<String> {
    let lines = WITHOUT_EFFECT
        .iter()
        .enumerate()
        .filter_map(|(row, without)| {
            let mut met: Vec<&str> = variables
                .iter()
                .copied()
                .filter(|name| first_row(name) == Some(row))
                .collect();
            met.sort_unstable();
            met.dedup();
            (!met.is_empty()).then(|| format!("{}: {}", without.reason, met.join(", ")))
        });
    lines.collect()
}

/// Whether Raccoon has this variable and it has no effect here.
pub(super) fn is_known(variable: &str) -> bool {
    first_row(variable).is_some()
}

/// Why a variable of Raccoon's has no effect here.
pub(super) fn reason(variable: &str) -> Option<&'static str> {
    first_row(variable).map(|row| WITHOUT_EFFECT[row].reason)
}

fn first_row(variable: &str) -> Option<usize> {
    let fits = |name: &str| {
        if name.ends_with('_') {
            variable.starts_with(name)
        } else {
            variable == name
        }
    };
    WITHOUT_EFFECT
        .iter()
        .position(|without| without.names.iter().any(|name| fits(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_names_all_that_share_a_reason() {
        let set = [
            "WORKER_POOL_SIZE",
            "PATH",
            "SERVER_WEBSOCKET_PINGER_SIZE",
            "PUBLISHER_KAFKA_DELIVERY_CHANNEL_SIZE",
            "PUBLISHER_KAFKA_CLIENT_GO_BATCH_PRODUCER",
        ];
        let lines = notices(&set);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with(
            ": PUBLISHER_KAFKA_DELIVERY_CHANNEL_SIZE, SERVER_WEBSOCKET_PINGER_SIZE, WORKER_POOL_SIZE"
        ));
        assert!(lines[1].ends_with(": PUBLISHER_KAFKA_CLIENT_GO_BATCH_PRODUCER"));
    }

    #[test]
    fn nothing_set_is_nothing_said() {
        assert!(notices(&["PATH", "HOME"]).is_empty());
    }
}
