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

# The scenario knows it too.
port=19092
broker=''

end_broker() {
    [[ -n $broker ]] && kill -KILL "$broker" 2>/dev/null && wait "$broker" 2>/dev/null
    stage_close
}

# The machine gets memory and its best compiler: here it must not be the limit.
start_broker() {
    local folder=$scratch/broker tries
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && die "port $port is taken"
    "$root/tests/kafka/broker.sh" fetch
    mkdir -p "$folder"
    "$root/tests/kafka/broker.sh" plan "$folder" "$port"
    cat >>"$folder/server.properties" <<PROPERTIES
num.partitions=4
log.segment.bytes=134217728
log.retention.bytes=268435456
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=0
PROPERTIES
    BROKER_JVM='-Xms1g -Xmx1g -XX:+UseParallelGC' taskset -c 1 \
        "$root/tests/kafka/broker.sh" run "$folder" >"$scratch/broker.log" 2>&1 &
    broker=$!
    for ((tries = 0; tries < 1200; tries++)); do
        grep -q 'Kafka Server started' "$scratch/broker.log" && return
        kill -0 "$broker" 2>/dev/null || break
        sleep 0.1
    done
    tail -5 "$scratch/broker.log" >&2
    die 'the broker did not start'
}

# send WAY: leaves the figures in $scratch/WAY.out.
send() {
    taskset -c 0 "$KAFKA" "$1" --brokers "127.0.0.1:$port" --topic speed --bytes "${BYTES:-200}" \
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
