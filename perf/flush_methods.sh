#!/usr/bin/env bash
# Which way of making a commit durable is best on this disk: how flushed, how large, how many?
#
# usage: [DIR=/mnt/disk] [SECONDS_MEASURED=5] [ROUNDS=2] [METHODS='write-through data-sync']
#        [FRAME_BYTES='262144 1048576'] [IN_FLIGHT='1 2 4'] [EVENTS=50] [BYTES=256]
#        [CONNECTIONS=32] [WINDOW=16] perf/flush_methods.sh
#
# Each combination runs on a store of its own in the steady state (recycled segments), server on
# core 0, driver on core 1. Rounds go over all combinations again, so that a disk that changes its
# mind in the meantime (they do) is seen: compare a row with its repetition before two rows with each
# other. With one connection and a window of 1 the table shows the latency of an idle server; with
# the defaults, what it carries. "server %" is processor time of the process, in percent of a core;
# "others %" of everything that should not have been running: where it is large a row says little.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

seconds=${SECONDS_MEASURED:-5}
retention=$((1 << 30))
row='%-5s %-14s %12s %9s %12s %9s %9s %9s %9s %9s %9s\n'

# measure ROUND METHOD FRAME_BYTES IN_FLIGHT
measure() {
    start_server flush EVENT_ACK=1 RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0 \
        RINGTAIL_LOG_RETENTION_BYTES="$retention" RINGTAIL_LOG_FLUSH="$2" \
        RINGTAIL_LOG_FRAME_BYTES="$3" RINGTAIL_LOG_FRAMES_IN_FLIGHT="$4" -- taskset -c 0
    fill "$retention"
    run_and_account flush 1 "$seconds" --connections "${CONNECTIONS:-32}" \
        --window "${WINDOW:-16}" --events "${EVENTS:-50}" --bytes "${BYTES:-256}" \
        -- taskset -c 1 >"$scratch/account"
    # shellcheck disable=SC2059  # The format is the table's row, above.
    printf "$row" "$1" "$2" "$3" "$4" \
        "$(field events_per_second "$result" | cut -d. -f1)" \
        "$(field megabytes_per_second "$result" | cut -d. -f1)" \
        "$(field p50 "$result")" "$(field p99 "$result")" "$(field p999 "$result")" \
        "$(awk '$1 == "server" { print $2 }' "$scratch/account")" \
        "$(awk '$1 == "others" { print $2 }' "$scratch/account")"
    stop_server
    drop_store flush
}

stage_open "$@"
# shellcheck disable=SC2059
printf "$row" round flush frame_bytes in_flight events/s MB/s p50_us p99_us p99.9_us 'server_%' 'others_%'
for ((round = 1; round <= ${ROUNDS:-2}; round++)); do
    for method in ${METHODS:-write-through data-sync}; do
        for frame_bytes in ${FRAME_BYTES:-262144 1048576}; do
            for in_flight in ${IN_FLIGHT:-1 2 4}; do
                measure "$round" "$method" "$frame_bytes" "$in_flight"
            done
        done
    done
done
