#!/usr/bin/env bash
# How much memory does a connection cost the server that is open and does nothing?
#
# usage: [CONNECTIONS=15000] perf/idle_memory.sh
#
# Reading it: "each" is the growth of the server's resident memory over the number of connections.
# It is user memory only; the kernel's part of a socket (about 4 KB a side, and both sides are on
# this machine) is told apart, as the growth of the kernel's slabs. A hundred connections come and
# go first, so that what the server takes once and keeps is not charged to the idle ones.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

connections=${CONNECTIONS:-15000}

slab_kib() {
    awk '/^Slab:/ { print $2 }' /proc/meminfo
}

wait_for_open() {
    until grep -q "^open $connections\$" "$scratch/idle.log"; do
        kill -0 "$load" 2>/dev/null || { cat "$scratch/idle.log" >&2; die 'the driver gave up'; }
        sleep 0.2
    done
}

stage_open "$@"
start_server idle EVENT_ACK=1 RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0
"$BENCH" idle --url "$url" --connections 100 --hold-seconds 1 >/dev/null
before=$(rss_kib "$server")
slab_before=$(slab_kib)
"$BENCH" idle --url "$url" --connections "$connections" --hold-seconds 10 >"$scratch/idle.log" &
load=$!
wait_for_open
sleep 5
after=$(rss_kib "$server")
slab_after=$(slab_kib)
code=0
wait "$load" || code=$?
load=''
tail -1 "$scratch/idle.log"
echo "resident before  $before KiB"
echo "resident after   $after KiB, with $connections idle connections"
echo "each             $(((after - before) * 1024 / connections)) B of the server's memory"
echo "kernel slabs     $(((slab_after - slab_before) * 1024 / connections)) B for each, both sides of the socket"
[[ $code == 0 ]] || die 'not every connection was alive at the end'
