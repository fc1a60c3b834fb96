#!/usr/bin/env bash
# What does the engine's Kafka writer make of librdkafka on one core, beside librdkafka in a loop?
#
#   alone     the rdkafka crate's BaseProducer: send, poll, count, and nothing else
#   writer    the engine's writer on an executor, woken by its socketpair as in a shard
#
# Both have the same properties (acks=all, idempotent), the same records outstanding, and core 0 for everything,
# librdkafka's threads included. One Apache Kafka on core 1 takes both, in turn. With SCENARIO=1 the whole engine is
# measured after them on the same broker, by perf/scenarios/kafka.toml.
#
# usage: [DIR=/mnt/disk] [PAIRS=5] [SECONDS_MEASURED=5] [BYTES=200] [WINDOW=100000] \
#        [SCENARIO=1 [SCENARIO_FLAGS="--rounds 1"]] perf/kafka_writer.sh
#
# Wants Java and Maven, as tests/run.sh does. Reading it: the ratio is of records delivered a second (target: at least
# 0.9). "processor" is how much of its core the process used: well below 1 in both, the broker was the limit and the ratio says
# little; then "us" still does, the processor time of each record.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
source "$root/perf/broker.sh"

# send WAY: leaves the figures in $scratch/WAY.out.
send() {
    taskset -c 0 "$KAFKA" "$1" --brokers "127.0.0.1:$port_of_broker" --topic speed --bytes "${BYTES:-200}" \
        --window "${WINDOW:-100000}" --seconds "${SECONDS_MEASURED:-5}" >"$scratch/$1.out" ||
        die "$1 failed"
    printf '%s %.0f records/s, %.2f of its core, %s us' "$1" "$(figure records_per_second "$scratch/$1.out")" \
        "$(figure processor "$scratch/$1.out")" "$(figure processor_us_per_record "$scratch/$1.out")"
}

stage_open "$@"
trap end_broker EXIT
if [[ -z ${KAFKA:-} ]]; then
    (cd "$root" && cargo build --release --quiet -p ringtail --example drive_kafka)
    KAFKA=${CARGO_TARGET_DIR:-$root/target}/release/examples/drive_kafka
fi
start_broker
mark=$(processor_time)
for ((pair = 1; pair <= ${PAIRS:-5}; pair++)); do
    # Who is first changes: the broker's machine grows faster while it runs.
    if ((pair % 2)); then ways=(alone writer); else ways=(writer alone); fi
    printf 'pair %-3s' "$pair"
    for way in "${ways[@]}"; do
        send "$way"
        printf '   '
    done
    ratio "$(figure records_per_second "$scratch/writer.out")" "$(figure records_per_second "$scratch/alone.out")" |
        tee -a "$scratch/ratios"
    echo >>"$scratch/ratios"
    echo
done
echo "median   writer / alone: $(median <"$scratch/ratios") (target: 0.90)"
stolen_since "$mark"
if [[ ${SCENARIO:-} ]]; then
    echo
    "$BENCH" scenario "$root/perf/scenarios/kafka.toml" --dir "$scratch" --ringtail "$RINGTAIL" ${SCENARIO_FLAGS:-}
fi
