#!/usr/bin/env bash
# What does the log make of its disk? As ratios against fio, on the same disk, in the same run, with
# the same size of a write, the same way of flushing (O_DSYNC, direct) and the same depth.
#
#   bandwidth   the log flat out against fio: at least 0.85
#   commit      one request outstanding, from `append` to durable, against fio at the same rate:
#               at most 1.3, p50 and p99
#   topics      10 000 topics against one: events a second, and bytes written for each event
#   volumes     three on one disk against one, through the server (skipped while it takes only one)
#
# usage: [DIR=/mnt/disk] [SECONDS_MEASURED=5] [ROUNDS=3] perf/log_ratios.sh
#
# Reading it: each round measures the log and fio one after the other; compare within a row, and the
# medians of the rows. Absolute figures of a shared disk change from minute to minute. The log works
# on recycled segments, fio overwrites a file that is wholly written. "stolen" and "idle" tell
# whether anything else was at work.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

seconds=${SECONDS_MEASURED:-5}
rounds=${ROUNDS:-3}
row='%-10s %-7s %14s %14s %8s\n'

# print_row KIND ROUND LOG OTHER: and keeps the ratio for the median.
print_row() {
    local ratio
    ratio=$(ratio "$3" "$4")
    # shellcheck disable=SC2059  # The format is the table's row, above.
    printf "$row" "$1" "$2" "$3" "$4" "$ratio"
    echo "$ratio" >>"$scratch/$1.ratios"
}

bandwidth() {
    drive write write --events 64 --bytes 4096 --seconds "$seconds"
    fio_run bandwidth "$(figure frame_bytes "$scratch/write.out")" 4
    print_row mb_per_s "$1" \
        "$(figure bytes_per_second "$scratch/write.out" | awk '{ printf "%.0f", $1 / 1e6 }')" \
        "$(fio_figure bw_bytes "$scratch/bandwidth.json" | awk '{ printf "%.0f", $1 / 1e6 }')"
}

commit() {
    drive commit commit --events 1 --bytes 200 --seconds "$seconds"
    fio_run commit "$(figure frame_bytes "$scratch/commit.out")" 1 \
        --rate_iops="$(figure events_per_second "$scratch/commit.out")"
    local at
    for at in 50 99; do
        print_row "p${at}_us" "$1" "$(figure "p${at}_us" "$scratch/commit.out")" \
            "$(fio_figure "$at.000000" "$scratch/commit.json" | awk '{ printf "%.0f", $1 / 1e3 }')"
    done
}

topics() {
    drive many write --topics 10000 --events 10 --bytes 200 --seconds "$seconds"
    drive one write --topics 1 --events 10 --bytes 200 --seconds "$seconds"
    print_row events "$1" "$(figure events_per_second "$scratch/many.out")" \
        "$(figure events_per_second "$scratch/one.out")"
    print_row log_bytes "$1" "$(figure log_bytes_per_event "$scratch/many.out")" \
        "$(figure log_bytes_per_event "$scratch/one.out")"
}

# server_rate NAME VOLUMES: events a second through the server.
server_rate() {
    start_server "$1" EVENT_ACK=1 RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0 \
        RINGTAIL_LOG_RETENTION_BYTES=$((1 << 30)) RINGTAIL_LOG_VOLUMES="$2" -- taskset -c 0
    fill $((1 << 30))
    run_and_account "$1" 1 "$seconds" --connections 32 --window 16 --events 50 --bytes 256 \
        -- taskset -c 1 >"$scratch/$1.account"
    stop_server
    rm -rf -- "${scratch:?}/$1"*.vol
}

volumes() {
    server_rate three "$scratch/three-1.vol,$scratch/three-2.vol,$scratch/three-3.vol"
    server_rate single "$scratch/single-1.vol"
    print_row volumes "$1" "$(field events_per_second "$scratch/three.json" | cut -d. -f1)" \
        "$(field events_per_second "$scratch/single.json" | cut -d. -f1)"
}

takes_volumes() {
    RINGTAIL_LOG_VOLUMES="$scratch/1,$scratch/2,$scratch/3" "$RINGTAIL" config >/dev/null 2>&1
}

need_fio
stage_open "$@"
need_drive
echo "fio      $(fio --version), io_uring, direct, O_DSYNC; the log: 4 frames in flight"
echo
mark=$(processor_time)
fio_fill

# shellcheck disable=SC2059
printf "$row" what round log 'fio_or_one' ratio
for ((round = 1; round <= rounds; round++)); do
    bandwidth "$round"
    commit "$round"
    topics "$round"
    if takes_volumes; then
        volumes "$round"
    fi
done
echo
for kind in mb_per_s p50_us p99_us events log_bytes volumes; do
    if [[ -s $scratch/$kind.ratios ]]; then
        echo "median   $kind $(median <"$scratch/$kind.ratios")"
    fi
done
takes_volumes || echo 'volumes  skipped: this server takes one folder only'
stolen_since "$mark"
