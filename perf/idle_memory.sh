#!/usr/bin/env bash
# How much memory does a connection cost the server that is open and does nothing?
#
# usage: [CONNECTIONS=15000] perf/idle_memory.sh
#
# Reading it: "each" is the growth of the server's resident memory over the number of connections. In it is what the server
# takes for as many handshakes as happen to be under way at once, and keeps; "each further" leaves that out: the growth from
# a third of the connections to all. It is user memory only; the kernel's part of a socket (about 4 KB a side, and both
# sides are on this machine) is told apart, as the growth of the kernel's slabs. A hundred connections come and
# go first, so that what the server takes once and keeps is not charged to the idle ones.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

connections=${CONNECTIONS:-15000}
first=$((connections / 3))
crowd=''

slab_kib() {
    awk '/^Slab:/ { print $2 }' /proc/meminfo
}

# open_and_hold NAME COUNT SECONDS: leaves the driver's process in `load`, and its last words in $scratch/NAME.log.
open_and_hold() {
    "$BENCH" idle --url "$url" --connections "$2" --hold-seconds "$3" >"$scratch/$1.log" &
    load=$!
    until grep -q "^open $2\$" "$scratch/$1.log"; do
        kill -0 "$load" 2>/dev/null || { cat "$scratch/$1.log" >&2; die 'the driver gave up'; }
        sleep 0.2
    done
    sleep 5
}

stage_open "$@"
start_server idle EVENT_ACK=1 RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0
"$BENCH" idle --url "$url" --connections 100 --hold-seconds 1 >/dev/null
before=$(rss_kib "$server")
slab_before=$(slab_kib)
open_and_hold first "$first" 30
middle=$(rss_kib "$server")
crowd=$load
open_and_hold rest "$((connections - first))" 10
after=$(rss_kib "$server")
slab_after=$(slab_kib)
code=0
wait "$load" || code=$?
load=$crowd
wait "$crowd" || code=$?
load=''
tail -q -n 1 "$scratch/first.log" "$scratch/rest.log"
echo "resident before  $before KiB"
echo "resident after   $middle KiB with $first idle connections, $after KiB with $connections"
echo "each             $(((after - before) * 1024 / connections)) B of the server's memory"
echo "each further     $(((after - middle) * 1024 / (connections - first))) B"
echo "kernel slabs     $(((slab_after - slab_before) * 1024 / connections)) B for each, both sides of the socket"
[[ $code == 0 ]] || die 'not every connection was alive at the end'
