#!/usr/bin/env bash
# How many connections a second are opened, let in under a name of their own, and closed again?
#
# usage: [THREADS=16] [SECONDS_MEASURED=5] [ROUNDS=3] perf/churn.sh
#
# Reading it: one shard grants every name itself; of two shards each grants half of the other's, by a letter there
# and one back. "until the pong" is what a client waits from its first packet to being served. The driver
# takes what the shards leave of the processors; "server" is the processor time that the server took.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

threads=${THREADS:-16}
seconds=${SECONDS_MEASURED:-5}
rounds=${ROUNDS:-3}

cpu_ticks() {
    awk '{ print $14 + $15 }' "/proc/$1/stat"
}

stage_open "$@"
for ((round = 1; round <= rounds; round++)); do
    for shards in 1 2; do
        start_server "churn-$round-$shards" EVENT_ACK=1 RINGTAIL_SHARDS="$shards"
        before=$(cpu_ticks "$server")
        told=$("$BENCH" churn --url "$url" --threads "$threads" --seconds "$seconds") || echo 'the server refused some'
        after=$(cpu_ticks "$server")
        echo "$shards shard(s): $told; server $(((after - before) * 100 / ticks_per_second / seconds)) % of a core"
        stop_server
    done
done
