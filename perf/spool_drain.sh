#!/usr/bin/env bash
# How fast does a spool drain after an outage, while ingest goes on at a quarter of its maximum?
#
# The broker stands still (SIGSTOP) while a closed loop says how much comes in at most, and a backlog grows. Then the
# broker goes on, events come in at a quarter of that rate, and what Kafka takes meanwhile is counted.
#
#   ORDERS    values of spool.order to measure, in turn      (default: "live-first oldest-first")
#   DELIVERIES  values of spool.delivery, each with each order  (default: at-least-once)
#   ROUNDS    how often each                                 (default: 2)
#   FILL, SECONDS_MEASURED   of the outage, and of the drain (default: 5 and 8)
#   EVENTS, BYTES            shape of a batch                (default: 10 and 200)
#   WRITER    spool.writer, for at-least-once                (default: auto)
#   READ      spool.read_bytes_per_second                    (default: 1GiB: the disk's share is not what is measured)
#
#   PROFILE=1 leaves a profile of the server in the drain in target/profile, for `perf report`; wants perf, and costs some
#
# usage: [DIR=/mnt/disk] perf/spool_drain.sh
#
# Wants Java and Maven, as tests/run.sh does. Reading it: the ratio is of events delivered a second to events that came in
# a second (target: at least 2). The whole server, librdkafka's threads included, has core 0; the broker and the driver
# share core 1. "server" is how much of its core the server used: well below 100 %, the broker was the limit. A drain
# that came to its end within the measured time says nothing: FILL for longer.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
source "$root/perf/broker.sh"

events=${EVENTS:-10}
bytes=${BYTES:-200}
fill=${FILL:-5}
seconds=${SECONDS_MEASURED:-8}

ticks_of() {
    awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

# drive_for NAME WARMUP SECONDS [OPTIONS...]: in the background, as `load`.
drive_for() {
    local name=$1 warmup=$2 time=$3
    shift 3
    taskset -c 1 "$BENCH" load --url "$url" --connections 32 --events "$events" --bytes "$bytes" \
        --warmup "$warmup" --seconds "$time" --json "$scratch/$name.json" "$@" >"$scratch/$name.log" 2>&1 &
    load=$!
}

finish_drive() {
    wait_at_most $((fill + seconds + 120)) "$load" || { tail -5 "$scratch/$1.log" >&2; die 'the driver did not end with success'; }
    load=''
}

# measure ORDER DELIVERY
measure() {
    local before after first last ticks rate came quarter
    start_publisher "store" spool RINGTAIL_SPOOL_ORDER="$1" RINGTAIL_SPOOL_DELIVERY="$2" \
        RINGTAIL_SPOOL_WRITER="${WRITER:-auto}" RINGTAIL_SPOOL_READ_BYTES_PER_SECOND="${READ:-1GiB}" -- taskset -c 0
    # Kafka has the topic, and the producer knows it.
    drive_for first 0 1 --rate 1000
    finish_drive first
    kill -STOP "$broker"
    drive_for most 1 "$fill" --window 16
    finish_drive most
    rate=$(field events_per_second "$scratch/most.json")
    quarter=$(awk -v rate="$rate" 'BEGIN { printf "%.0f", rate / 4 }')
    kill -CONT "$broker"
    drive_for drain 1 $((seconds + 2)) --rate "$quarter" --arrivals poisson
    sleep 2
    first=$(number ringtail_spool_delivered_total) before=$EPOCHREALTIME ticks=$(ticks_of "$server")
    if [[ ${PROFILE:-} ]]; then
        mkdir -p "$root/target/profile"
        perf record --quiet --freq 1999 -g --pid "$server" --output "$root/target/profile/drain-$1-$2.data" -- \
            sleep "$seconds" 2>"$scratch/perf.log" || die "perf could not record: $(cat "$scratch/perf.log")"
    else
        sleep "$seconds"
    fi
    last=$(number ringtail_spool_delivered_total) after=$EPOCHREALTIME ticks=$(($(ticks_of "$server") - ticks))
    local left
    left=$(number ringtail_spool_backlog_events)
    finish_drive drain
    came=$(field events_per_second "$scratch/drain.json")
    awk -v order="$1 $2" -v rate="$rate" -v came="$came" -v delivered=$((last - first)) -v from="$before" -v to="$after" \
        -v left="$left" -v ticks="$ticks" -v hertz="$ticks_per_second" \
        -v p99="$(sed -n 's/^ *"p99": \([0-9.]*\),*$/\1/p' "$scratch/drain.json" | head -1)" 'BEGIN {
            drained = delivered / (to - from)
            printf "%-27s most %7.0f/s   came %7.0f/s   delivered %7.0f/s   ratio %.2f   server %3.0f %%   p99 %s us   left %d\n",
                order, rate, came, drained, drained / came, 100 * ticks / hertz / (to - from), p99, left
            if (left == 0) print "              the backlog came to its end: this says nothing"
        }' | tee -a "$scratch/all"
    stop_server
    drop_store store
}

stage_open "$@"
trap end_broker EXIT
start_broker
mark=$(processor_time)
# each ACT: with every order and every delivery.
each() {
    local order delivery
    for order in ${ORDERS:-live-first oldest-first}; do
        for delivery in ${DELIVERIES:-at-least-once}; do
            "$1" "$order" "$delivery"
        done
    done
}

# of_all ORDER DELIVERY NAME: the median of a figure.
of_all() {
    awk -v order="$1" -v delivery="$2" -v name="$3" '$1 == order && $2 == delivery {
        for (at = 1; at < NF; at++) if ($at == name) print $(at + 1) + 0 }' "$scratch/all" | median
}

conclude() {
    echo "median   $1 $2: ratio $(of_all "$1" "$2" ratio) (target: 2.00), delivered $(of_all "$1" "$2" delivered)/s"
}

for ((round = 1; round <= ${ROUNDS:-2}; round++)); do
    each measure
done
each conclude
stolen_since "$mark"
