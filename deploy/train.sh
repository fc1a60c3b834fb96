#!/usr/bin/env bash
# Drives a server the way that production would: for `release.sh`, which learns from it and measures
# with it.
#
#   RINGTAIL=program deploy/train.sh        once through everything that is hot
#   deploy/train.sh --compare PROGRAM...    processor time for a million events, interleaved
#
# Reading the comparison: "us" is processor time of the whole server process, in microseconds for each
# thousand events, at a fixed load: less is better. It moves less than a rate does when something else runs,
# but it does move: look at the spread of a program's own rounds before believing a difference.

source "$(dirname "${BASH_SOURCE[0]}")/../perf/stage.sh"

compare=()
if [[ ${1:-} == --compare ]]; then
    compare=("${@:2}")
    RINGTAIL=${compare[0]}
fi
shapes=('1 200' '10 200' '50 256')
# On each of 32 connections.
batches=${BATCHES:-2000}
last=$(($(nproc) - 1))
confined=(RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0 EVENT_ACK=1 RINGTAIL_LOG_RETENTION_BYTES=$((512 << 20)))

# ticks: processor time of the server so far.
ticks() {
    stat_lines process <"/proc/$server/stat" | cut -d' ' -f4
}

# send EVENTS BYTES
send() {
    taskset -c "$last" "$BENCH" load --url "$url" --connections 32 --window 16 --events "$1" \
        --bytes "$2" --warmup 0 --seconds 3600 --batches "$batches" >"$scratch/send.log" ||
        { cat "$scratch/send.log" >&2; die 'the driver ended with an error'; }
}

# Requests by REST, as JSON: enough to count, few enough to be quick.
post() {
    local body='{"req_guid":"train","events":[' event
    event=$(printf '{"type":"click","event_bytes":"%s"}' "$(head -c 200 /dev/zero | tr '\0' x | base64 -w0)")
    body+=$(for _ in {1..9}; do printf '%s,' "$event"; done)$event']}'
    local requests=()
    for _ in {1..200}; do
        requests+=(--next --silent --output /dev/null -H 'Content-Type: application/json' -H 'X-User-ID: train'
            --data-binary "$body" "http://127.0.0.1:$port/api/v1/events")
    done
    for _ in {1..5}; do curl "${requests[@]:1}"; done
}

stage_open "$@"
if ((${#compare[@]} == 0)); then
    start_server train "${confined[@]}" -- taskset -c 0
    for shape in "${shapes[@]}"; do
        read -r events bytes <<<"$shape"
        send "$events" "$bytes"
    done
    post
    stop_server
    exit
fi

for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
    for RINGTAIL in "${compare[@]}"; do
        start_server "store-$round" "${confined[@]}" -- taskset -c 0
        line=$(printf '%-20s' "$(basename "$RINGTAIL")")
        send 50 256
        for shape in "${shapes[@]}"; do
            read -r events bytes <<<"$shape"
            before=$(ticks)
            send "$events" "$bytes"
            used=$(($(ticks) - before))
            line+=$(awk -v ticks=$used -v hertz="$ticks_per_second" -v sent=$((32 * batches * events)) -v shape="$events x $bytes" \
                'BEGIN { printf "  %s: %7.1f us", shape, ticks / hertz * 1e9 / sent }')
        done
        echo "round $round  $line"
        stop_server
        drop_store "store-$round"
    done
done
