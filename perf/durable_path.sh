#!/usr/bin/env bash
# How many events a second does one core take from sockets to stable storage and back?
#
# The whole server (shard, control core, helper threads) is confined to core 0, the driver to
# core 1. WebSocket, 32 connections, each with 16 batches outstanding, EVENT_ACK=1. Three shapes,
# 1 x 200 B, 10 x 200 B and 50 x 256 B, each on fresh segments and then in the steady state, where retention
# gives back segments as fast as they fill and writing overwrites them.
#
# usage: [DIR=/mnt/disk] [SECONDS_MEASURED=10] [RETENTION=2147483648] perf/durable_path.sh
#
# Reading it: "rate" and "latency" are the driver's, over the measured seconds. If "driver" is near
# 100 % the driver was the limit and the figure is only a lower bound. "server" is all processor
# time of the process; kernel threads (block layer, write-back) are work done for it that no process
# is charged with: a rate that needs core 1's kernel threads is not a rate of one core. "stolen" says
# that the machine under this one was busy, and "others" that this one was: measure again. Loopback's receive work runs where the
# sender runs, so a part of what a network card would cost the server is on the driver's core here.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

seconds=${SECONDS_MEASURED:-10}
retention=${RETENTION:-$((2 << 30))}
shapes=('1 200' '10 200' '50 256')
on_core_0=(RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0 EVENT_ACK=1)

# shape STATE EVENTS BYTES
shape() {
    echo "== $1 segments, $2 x $3 B"
    run_and_account "$1-$2x$3" 2 "$seconds" --connections 32 --window 16 --events "$2" \
        --bytes "$3" -- taskset -c 1
}

stage_open "$@"
for wanted in "${shapes[@]}"; do
    read -r events bytes <<<"$wanted"
    start_server fresh "${on_core_0[@]}" -- taskset -c 0
    shape fresh "$events" "$bytes"
    stop_server
    drop_store fresh
done

start_server steady "${on_core_0[@]}" RINGTAIL_LOG_RETENTION_BYTES="$retention" -- taskset -c 0
fill "$retention"
for wanted in "${shapes[@]}"; do
    read -r events bytes <<<"$wanted"
    shape recycled "$events" "$bytes"
done
echo "store    $(du -sh --apparent-size "$scratch/steady" | cut -f1) at the end," \
    "retention $((retention >> 20)) MiB"
