#!/usr/bin/env bash
# How much of what clients wait for is the disk's? Open-loop latency of the server against fio, which
# writes frames of the same size at the same rate to the same disk in the same run.
#
# usage: [DIR=/mnt/disk] [SECONDS_MEASURED=10] [ROUNDS=3] [PART=50] [EVENTS=10] [BYTES=200]
#        [CONNECTIONS=64] perf/fio_peer.sh
#
# First a closed loop finds the maximum. Then, in each round, the server gets PART percent of it as an open loop
# (Poisson; latency counts from the moment at which a batch was meant to be sent), and fio writes as many frames a
# second, of the mean size that the server's had, with O_DSYNC and direct, up to four at once as the server does.
#
# Reading it: "ratio" is the server's p99 over fio's; at most 2 is wanted. Both are from one run, one after the
# other: compare within a row. fio's latency counts from the write, the server's from the client and back, waiting for
# the frame that is under way included, which alone makes a ratio of up to 2 at the median. Where "asked"
# was not kept (the driver says so) a row says nothing. The server is on core 0, the driver on the last core, fio
# on core 0 while the server is idle. "stolen" and "idle" tell whether anything else was at work.
source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

seconds=${SECONDS_MEASURED:-10}
rounds=${ROUNDS:-3}
part=${PART:-50}
events=${EVENTS:-10}
bytes=${BYTES:-200}
connections=${CONNECTIONS:-64}
retention=$((1 << 30))
last=$(($(nproc) - 1))
row='%-5s %10s %8s %9s %9s %9s %8s %8s %7s\n'

# counted NAME: one of the server's counters, over all shards.
counted() {
    curl --fail --silent "http://127.0.0.1:$admin/metrics" |
        awk -v name="$1" 'index($1, name "{") == 1 || $1 == name { sum += $NF } END { printf "%.0f", sum }'
}

# drive_server NAME [OPTIONS...]
drive_server() {
    local name=$1
    shift
    run_and_account "$name" 1 "$seconds" --connections "$connections" --events "$events" --bytes "$bytes" \
        "$@" -- taskset -c "$last" >"$scratch/$name.account"
}

whole() {
    awk -v value="$1" 'BEGIN { printf "%.0f", value }'
}

measure() {
    local commits written batches frame frames
    commits=$(counted ringtail_commits_total)
    written=$(counted ringtail_committed_bytes_total)
    batches=$(counted ringtail_batches_accepted_total)
    drive_server "open-$1" --rate "$rate" --arrivals poisson
    commits=$(($(counted ringtail_commits_total) - commits))
    written=$(($(counted ringtail_committed_bytes_total) - written))
    batches=$(($(counted ringtail_batches_accepted_total) - batches))
    frame=$(((written / commits + 4095) / 4096 * 4096))
    frames=$(whole "$(awk -v c="$commits" -v b="$batches" -v r="$rate" -v e="$events" 'BEGIN { print c / b * r / e }')")
    fio_run "fio-$1" "$frame" 4 --rate_iops="$frames"
    local ours theirs
    ours=$(field p99 "$result")
    theirs=$(fio_figure 99.000000 "$scratch/fio-$1.json" | awk '{ printf "%.0f", $1 / 1e3 }')
    # shellcheck disable=SC2059  # The format is the table's row, above.
    printf "$row" "$1" "$rate" "$frame" "$frames" "$(field p50 "$result")" "$ours" \
        "$(fio_figure 50.000000 "$scratch/fio-$1.json" | awk '{ printf "%.0f", $1 / 1e3 }')" "$theirs" \
        "$(ratio "$ours" "$theirs")"
    grep WARNING "$scratch/open-$1.account" || true
    ratio "$ours" "$theirs" >>"$scratch/ratios"
    echo >>"$scratch/ratios"
}

need_fio
stage_open "$@"
echo "fio      $(fio --version), io_uring, direct, O_DSYNC, up to 4 at once"
mark=$(processor_time)
fio_fill
start_server peer EVENT_ACK=1 RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0 \
    RINGTAIL_LOG_RETENTION_BYTES="$retention" -- taskset -c 0
fill "$retention"
drive_server maximum --window 16
maximum=$(whole "$(field events_per_second "$result")")
rate=$((maximum * part / 100))
echo "maximum  $maximum events/s of $events x $bytes B; $part % of it is asked for"
echo
# shellcheck disable=SC2059
printf "$row" round events/s frame frames/s p50_us p99_us fio_p50 fio_p99 ratio
for ((round = 1; round <= rounds; round++)); do
    measure "$round"
done
echo
echo "median   ratio of the p99s: $(median <"$scratch/ratios"), at most 2 is wanted"
stolen_since "$mark"
