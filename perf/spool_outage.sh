#!/usr/bin/env bash
# Do acknowledgements of a spool take longer while its broker is away?
#
# Rounds at one rate, an open loop well below the maximum. In an outage the broker is killed with -9 and started again, or
# stands still (SIGSTOP) and goes on; in its control the broker stays, and the same happens at the same moments to a second
# one, with which the server has nothing to do: what a process that comes and goes takes of this machine is in both.
#
#   WAYS      what happens to a broker                       (default: "kill pause")
#   ROUNDS    pairs of an outage and its control, each way   (default: 3)
#   AWAY      how long it lasts, in seconds                  (default: 15)
#   AFTER     measured behind it, in seconds; the backlog drains meanwhile   (default: 15)
#   RATE, EVENTS, BYTES      events a second, shape of a batch               (default: 20000, 10 and 200)
#   DELIVERY  at-least-once or exactly-once                  (default: at-least-once)
#   KAFKA_CPUS               librdkafka's threads            (default: 0, the shard's own core)
#
# usage: [DIR=/mnt/disk] perf/spool_outage.sh
#
# Wants Java and Maven, as tests/run.sh does. Reading it: the ratio is of the p99 of all acknowledgements, from the moment
# at which a batch was meant to be sent (target: at most 1.50). "away" and "after" are medians of each second's p99 in
# these parts of the run: they tell which of them a difference comes from. The whole server has core 0; the brokers, which
# yield to the driver, and the driver share core 1. Any client that sees an error ends the script.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
source "$root/perf/broker.sh"

away=${AWAY:-15}
after=${AFTER:-15}
rate=${RATE:-20000}
# Measured before it begins, and what the server has to warm up.
before=5
warmup=3
measured=$((before + away + after))
neighbour=''

end_both() {
    end_process "$neighbour"
    end_broker
}

# under_load NAME HAPPENS WHOM: leaves the driver's figures in $scratch/NAME.json.
under_load() {
    local name=$1
    taskset -c 1 "$BENCH" load --url "$url" --connections 32 --events "${EVENTS:-10}" --bytes "${BYTES:-200}" --rate "$rate" \
        --arrivals poisson --warmup "$warmup" --seconds "$measured" --json "$scratch/$name.json" >"$scratch/$name.log" 2>&1 &
    load=$!
    sleep $((warmup + before))
    "$2" "$3"
    wait_at_most $((measured + 60)) "$load" || die "the driver did not end with success: $(tail -5 "$scratch/$name.log")"
    load=''
}

# kill_it WHOM: it goes, and comes again.
kill_it() {
    end_process "${!1}"
    sleep "$away"
    run_broker "$scratch/$1"
    printf -v "$1" %s $!
}

# pause_it WHOM
pause_it() {
    kill -STOP "${!1}"
    sleep "$away"
    kill -CONT "${!1}"
}

drained() {
    local tries left
    for ((tries = 0; tries < 600; tries++)); do
        left=$(number ringtail_spool_backlog_events)
        [[ $left == 0 ]] && return
        sleep 0.2
    done
    tail -5 "$scratch/server.log" "$scratch/broker.log" >&2
    die "the backlog did not drain: $left events are left"
}

p99() {
    field p99 "$scratch/$1.json"
}

# part NAME FROM TO: the median of the p99 of these seconds, in microseconds.
part() {
    awk -v from="$2" -v to="$3" '
        /"publishLatency99pct"/ { listed = 1; next }
        listed && /\]/ { exit }
        listed { second++; if (from < second && second <= to) print 1000 * $1 }' "$scratch/$1.json" | median
}

# told NAME: one run, in words.
told() {
    printf '%s p99 %5.0f us (away %5.0f, after %5.0f)' "$1" "$(p99 "$1")" "$(part "$1" "$before" $((before + away)))" \
        "$(part "$1" $((before + away)) "$measured")"
}

# pair WAY ROUND
pair() {
    local runs=(outage control) run whom
    # Who is first changes: machines grow faster while they run.
    (($2 % 2)) || runs=(control outage)
    for run in "${runs[@]}"; do
        whom=broker
        [[ $run == control ]] && whom=neighbour
        under_load "$run" "$1_it" "$whom"
        wait_for_broker "$scratch/broker" "$broker"
        wait_for_broker "$scratch/neighbour" "$neighbour"
        drained
    done
    printf '%-5s %s   %s   %s   ratio ' "$1" "$2" "$(told outage)" "$(told control)"
    ratio "$(p99 outage)" "$(p99 control)" | tee -a "$scratch/$1.ratios"
    echo >>"$scratch/$1.ratios"
    echo
}

stage_open "$@"
trap end_both EXIT
# What a broker does at its start is not to keep the driver from its work.
BROKER_NICE=19
start_broker
plan_broker "$scratch/neighbour" $((port_of_broker + 2))
run_broker "$scratch/neighbour"
neighbour=$!
wait_for_broker "$scratch/neighbour" "$neighbour"
start_publisher store spool RINGTAIL_SPOOL_DELIVERY="${DELIVERY:-at-least-once}" RINGTAIL_KAFKA_CPUS="${KAFKA_CPUS:-0}" -- taskset -c 0
mark=$(processor_time)
for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
    for way in ${WAYS:-kill pause}; do
        pair "$way" "$round"
    done
done
for way in ${WAYS:-kill pause}; do
    echo "$way: median $(median <"$scratch/$way.ratios"), from $(sort -g "$scratch/$way.ratios" | head -1)" \
        "to $(sort -g "$scratch/$way.ratios" | tail -1) (target: at most 1.50)"
done
stolen_since "$mark"
