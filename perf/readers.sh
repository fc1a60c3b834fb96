#!/usr/bin/env bash
# How fast is a topic read from its start to its end, and what do readers cost those who write?
#
#   alone     a topic that has its journal for itself
#   shared    a topic that shares its journal with 1 000 others, one event of each in turn
#   pairs     16 clients with one request of 10 x 200 B each, 2 ms apart, alone and beside ten readers
#             of old records, in turn: p99 of `append` to durable, at most +25 % (median of the pairs)
#
# usage: [DIR=/mnt/disk] [FILL=4294967296] [PAIRS=12] [SECONDS_MEASURED=6] [READ_RATE=41943040] perf/readers.sh
#
# READ_RATE is what the readers may take in a second beside commits, or twice what is written where that is more.
# Phases of one or two seconds do not repeat: the disk's slow moments are seconds apart.
#
# Everything runs on one core, without a server: what readers cost the journal, its core and its disk,
# and nothing else. Records are read with direct I/O, so the page cache helps nobody. "stolen" and "idle" tell
# whether anything else was at work: a p99 of a busy machine says little, but its neighbours in time are
# the pair's other half.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

fill=${FILL:-$((4 << 30))}

# consume NAME TOPICS EVENTS
consume() {
    drive "$1" read --topics "$2" --events "$3" --bytes 200 --fill "$fill"
    awk -v name="$1" '
        { at[$1] = $2 }
        END {
            printf "%-8s %d topics: %d events in %.2f s, %.0f events/s, %.1f MB/s of payload, %d bytes read for each\n",
                name, at["topics"], at["events"], at["seconds"], at["events_per_second"],
                at["payload_per_second"] / 1e6, at["disk_bytes_per_event"]
        }' <(echo "topics $2"; cat "$scratch/$1.out")
}

stage_open "$@"
need_drive
mark=$(processor_time)
consume alone 1 100
consume shared 1001 1001
echo
drive pairs readers --topics 20 --events 10 --bytes 200 --fill "$fill" --readers 10 \
    --pairs "${PAIRS:-12}" --seconds "${SECONDS_MEASURED:-6}" ${READ_RATE:+--read-rate "$READ_RATE"}
awk '{
    printf "pair %-4s alone p50 %5d p99 %6d us   beside readers p50 %5d p99 %6d us   ratio %.2f   read %.0f MB/s\n",
        $2, $4, $6, $8, $10, $12, $18 / 1e6
}' "$scratch/pairs.out"
echo "median   p99 beside readers / alone: $(awk '{ print $12 }' "$scratch/pairs.out" | median) (bound: 1.25)"
stolen_since "$mark"
