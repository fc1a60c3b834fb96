#!/usr/bin/env bash
# Does a start take longer when there is more in the log?
#
# Makes a store of FILL bytes and one without events, then starts the server on each in turn and
# measures from the start of the process to the first 200 of /readyz, by asking every few
# milliseconds. Starts follow a stop in order and a `kill -9` in turn. The bound: with a full log it
# takes at most 300 ms longer than with an empty one. Then the header of a full file is damaged before
# each start: it is made anew from the file's frames, for which that file is read once.
#
# usage: [DIR=/mnt/disk] [FILL=10737418240] [ROUNDS=6] [SEGMENT=134217728] [SPOOL=1] perf/startup.sh
#
# With SPOOL=1 both are spools, and Kafka has all of the full one: a start then reads the segment of the cursor too, to know
# how much waits. Wants Java and Maven, as tests/run.sh does.
#
# Reading it: compare medians. Each start walks the segment in use and looks through the prepared
# ones, whatever the size of the log; a start after `kill -9` walks the same. "cpu" is the processor time
# of the server until then, which hardly depends on who else is at work. "stolen" says that the
# machine under this one was busy, and a low "idle" that this one was: measure again.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

fill=${FILL:-$((10 << 30))}
rounds=${ROUNDS:-6}
settings=(EVENT_ACK=1 RINGTAIL_LOG_SEGMENT_BYTES="${SEGMENT:-$((128 << 20))}")

# Asks without starting a process, so that asking takes no time.
is_ready() {
    local status=''
    { exec 3<>"/dev/tcp/127.0.0.1/$admin"; } 2>/dev/null || return 1
    printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
    read -r -t 5 status <&3 || true
    exec 3>&-
    [[ $status == *' 200 '* ]]
}

# Processor time of the server so far, in milliseconds.
used_ms() {
    stat_lines server <"/proc/$server/stat" | awk -v hertz="$ticks_per_second" '{ print 1000 * $4 / hertz }'
}

# Takes the place of the stage's own, which asks ten times a second. Sets: took_ms, worked_ms.
wait_until_ready() {
    local begun=$EPOCHREALTIME tries
    for ((tries = 0; tries < 20000; tries++)); do
        if is_ready; then
            took_ms=$(awk "BEGIN { printf \"%.0f\", 1000 * ($EPOCHREALTIME - $begun) }")
            worked_ms=$(used_ms)
            return
        fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.002
    done
    tail -20 "$scratch/server.log" >&2
    die 'the server did not become ready'
}

# end_server HOW: in order, or as a crash would.
end_server() {
    if [[ $1 == crash ]]; then
        kill -KILL "$server"
        wait "$server" 2>/dev/null || true
        server=''
    else
        stop_server
    fi
}

# forwarded: waits until Kafka has everything.
forwarded() {
    local tries
    for ((tries = 0; tries < 6000; tries++)); do
        curl --fail --silent "http://127.0.0.1:$admin/metrics" |
            awk '/^ringtail_spool_backlog_events/ { sum += $NF } END { exit sum != 0 }' && return
        sleep 0.1
    done
    die 'Kafka did not get everything'
}

# start STORE: in the chosen mode.
start() {
    if [[ ${SPOOL:-} ]]; then
        start_publisher "$1" spool "${settings[@]}"
    else
        start_server "$1" "${settings[@]}"
    fi
}

stage_open "$@"
if [[ ${SPOOL:-} ]]; then
    source "$root/perf/broker.sh"
    trap end_broker EXIT
    start_broker
fi
mark=$(processor_time)

start empty
echo "first    start in an empty folder, segments made: $took_ms ms"
stop_server
start full
fill $((fill * 2 / 3))
[[ ${SPOOL:-} ]] && forwarded
stop_server
echo "store    $(du -sh "$scratch/full" | cut -f1), $(find "$scratch/full" -name '*.seg' | wc -l) files"
echo

row='%-6s %-9s %10s %10s %10s %10s\n'
# shellcheck disable=SC2059  # The format is the table's row, above.
printf "$row" round after empty_ms full_ms empty_cpu full_cpu
for ((round = 1; round <= rounds; round++)); do
    how=stop
    ((round % 2 == 0)) && how=crash
    for store in empty full; do
        start "$store"
        declare "$store=$took_ms" "${store}_cpu=$worked_ms"
        end_server "$how"
        echo "$took_ms" >>"$scratch/$store.times"
        echo "$worked_ms" >>"$scratch/$store.work"
    done
    # What is named is how the next round finds the store.
    # shellcheck disable=SC2059
    printf "$row" "$round" "$([[ $how == stop && $round != 1 ]] && echo crash || echo stop)" \
        "${empty:-}" "${full:-}" "${empty_cpu:-}" "${full_cpu:-}"
done
empty_ms=$(median <"$scratch/empty.times")
full_ms=$(median <"$scratch/full.times")
echo
echo "median   empty $empty_ms ms, full $full_ms ms:" \
    "$(awk "BEGIN { printf \"%+.0f\", $full_ms - $empty_ms }") ms (bound: +300 ms)"
echo "cpu      empty $(median <"$scratch/empty.work") ms, full $(median <"$scratch/full.work") ms"
echo

# The oldest file is full, and in no start's way. Byte 50 is part of what the header's checksum covers.
oldest=$(find "$scratch/full/journal-0" -name '*.seg' | sort | head -1)
for ((round = 1; round <= rounds; round++)); do
    was=$(od -An -tu1 -j50 -N1 "$oldest")
    printf "\\x$(printf '%02x' $((was ^ 1)))" | dd of="$oldest" bs=1 seek=50 conv=notrunc,fsync status=none
    start full
    echo "$took_ms" >>"$scratch/header.times"
    echo "$worked_ms" >>"$scratch/header.work"
    now=$(od -An -tu1 -j50 -N1 "$oldest")
    [[ $now == "$was" ]] || die 'the damaged header was not made anew'
    stop_server
done
echo "header   damaged in a file of $(stat -c %s "$oldest") bytes: $(median <"$scratch/header.times") ms," \
    "cpu $(median <"$scratch/header.work") ms"
stolen_since "$mark"
