#!/usr/bin/env bash
# Do two shards both work, each on its own core, without locks?
#
# usage: [DIR=/mnt/disk] [CPUS=0,1] [STRACE_SECONDS=5] perf/threads.sh
#
# Reading it: first each thread with the cores that it may run on: a shard's thread is bound to one.
# Then the system calls of each shard's thread under load: "futex" would be a lock that is contended
# or a thread that is woken by another, and there should be none. (One thread is traced at a time,
# and without -f: with it, strace follows all threads of the process and the counts mean nothing.
# Traced threads are slow: no rate is printed here.) Last the metrics by shard: both have taken
# events; the kernel deals connections out by their ports, so the shares are only roughly equal.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

cpus=${CPUS:-0,1}
seconds=${STRACE_SECONDS:-5}

# The id of each shard's thread; its helper (shard-0-aux) makes calls that may wait, and is not it.
shard_threads() {
    local task
    for task in "/proc/$server"/task/*; do
        # Its helper (shard-0-aux) makes the calls that may wait, and is another thread.
        grep -Eq '^shard-[0-9]+$' "$task/comm" && basename "$task"
    done
}

stage_open "$@"
command -v strace >/dev/null || die 'strace is needed'
start_server threads EVENT_ACK=1 RINGTAIL_SHARDS="$cpus" RINGTAIL_LOG_RETENTION_BYTES=$((1 << 30))
mapfile -t shards < <(shard_threads)
# The steady state: segments are recycled, no file is made.
fill $((1 << 30))
"$BENCH" load --url "$url" --connections 64 --window 4 --events 10 --bytes 200 --types 4 \
    --warmup 0 --seconds $((${#shards[@]} * (seconds + 2) + 3)) >"$scratch/load.log" &
load=$!
sleep 2

echo '== threads and their cores'
for task in "/proc/$server"/task/*; do
    name=$(cat "$task/comm" 2>/dev/null) || continue
    printf '  %-18s %s\n' "$name" "$(taskset -cp "$(basename "$task")" 2>&1)"
done

futexes=0
for thread in "${shards[@]}"; do
    echo "== system calls of $(cat "/proc/$server/task/$thread/comm") in $seconds s"
    timeout -s INT "$seconds" strace -c -o "$scratch/strace" -p "$thread" 2>/dev/null || true
    cat "$scratch/strace"
    # The column of errors is empty where there were none: the count is always the fourth.
    count=$(awk '$NF == "futex" { print $4 }' "$scratch/strace")
    futexes=$((futexes + ${count:-0}))
done

echo '== metrics by shard'
curl --fail --silent "http://127.0.0.1:$admin/metrics" | grep 'shard="' | grep -v '_bucket' || true
code=0
wait "$load" || code=$?
load=''
echo
echo "shard threads ${#shards[@]}, futex calls $futexes"
[[ ${#shards[@]} -gt 1 ]] || die 'fewer than two threads are named after a shard'
[[ $code == 0 ]] || die "the driver ended with $code"
[[ $futexes == 0 ]] || exit 1
