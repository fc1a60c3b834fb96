#!/usr/bin/env bash
# Do acknowledgements of a spool take longer while its broker is killed and starts again?
#
# Pairs of runs at one rate. In the first the broker is killed with -9 and starts again; in the other it stays, and a
# second broker, with which the server has nothing to do, is started and killed at the same moments: what a process
# that comes and goes takes of this machine is then in both.
#
# usage: [DIR=/mnt/disk] [PAIRS=3] [SECONDS_MEASURED=20] [RATE=20000] perf/spool_outage.sh
#
# Wants Java and Maven, as tests/run.sh does. Reading it: the ratio is of the p99 of all acknowledgements, of an open loop,
# from the moment at which a batch was meant to be sent (target: at most 1.5).

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
source "$root/perf/broker.sh"

seconds=${SECONDS_MEASURED:-20}
rate=${RATE:-20000}

# under_load NAME: leaves the driver's figures in $scratch/NAME.json.
under_load() {
    local code=0
    taskset -c 0 "$BENCH" load --url "$url" --connections 32 --events 10 --bytes 200 --rate "$rate" \
        --arrivals poisson --warmup 3 --seconds "$seconds" --json "$scratch/$1.json" >"$scratch/$1.log" 2>&1 &
    load=$!
    sleep $((3 + seconds / 5))
    "$1"
    wait "$load" || code=$?
    load=''
    [[ $code == 0 ]] || { tail -5 "$scratch/$1.log" >&2; die "the driver ended with $code: a client saw an error"; }
}

# The broker goes, and comes again.
outage() {
    end_process "$broker"
    sleep $((seconds / 5))
    run_broker "$scratch/broker"
    broker=$!
}

# Another goes, and comes again.
control() {
    end_process "$neighbour"
    sleep $((seconds / 5))
    run_broker "$scratch/neighbour"
    neighbour=$!
}

drained() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        [[ $(number ringtail_spool_backlog_events) == 0 ]] && return
        sleep 0.2
    done
    die 'the backlog did not drain'
}

p99() {
    sed -n 's/^ *"p99": \([0-9.]*\),*$/\1/p' "$scratch/$1.json" | head -1
}

stage_open "$@"
trap end_broker EXIT
start_broker
plan_broker "$scratch/neighbour" $((port_of_broker + 2))
run_broker "$scratch/neighbour"
neighbour=$!
wait_for_broker "$scratch/neighbour" "$neighbour"
start_publisher store spool -- taskset -c 0
mark=$(processor_time)
for ((pair = 1; pair <= ${PAIRS:-3}; pair++)); do
    if ((pair % 2)); then ways=(outage control); else ways=(control outage); fi
    for way in "${ways[@]}"; do
        under_load "$way"
        wait_for_broker "$scratch/broker" "$broker"
        wait_for_broker "$scratch/neighbour" "$neighbour"
        drained
    done
    printf 'pair %-3s p99 %s us in an outage, %s us without: ' "$pair" "$(p99 outage)" "$(p99 control)"
    ratio "$(p99 outage)" "$(p99 control)" | tee -a "$scratch/ratios"
    echo >>"$scratch/ratios"
    echo
done
echo "median   $(median <"$scratch/ratios") (target: at most 1.50)"
stolen_since "$mark"
