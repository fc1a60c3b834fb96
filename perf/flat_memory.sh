#!/usr/bin/env bash
# Does the server's memory stay flat under load, with retention at work?
#
# usage: [DIR=/mnt/disk] [MINUTES=10] [RETENTION=2147483648] perf/flat_memory.sh
#
# Reading it: one line for each ten seconds. The first fifth of the time is left out of the last
# line: pools and tables grow to their size there. After it, "max" should stand within a few percent
# of "min", and the last readings should not be the highest ones. The store's size shows that
# retention works: it stays near the limit.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

minutes=${MINUTES:-10}
retention=${RETENTION:-$((2 << 30))}
readings=$((minutes * 6))

stage_open "$@"
start_server flat EVENT_ACK=1 RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0 \
    RINGTAIL_LOG_RETENTION_BYTES="$retention" -- taskset -c 0
taskset -c 1 "$BENCH" load --url "$url" --connections 32 --window 16 --events 50 --bytes 256 \
    --types 4 --warmup 0 --seconds $((minutes * 60 + 5)) >"$scratch/load.log" &
load=$!
for ((reading = 1; reading <= readings; reading++)); do
    sleep 10
    kill -0 "$load" 2>/dev/null || break
    resident=$(rss_kib "$server")
    echo "$resident" >>"$scratch/resident"
    printf '%5d s  resident %8d KiB  store %6s\n' $((reading * 10)) "$resident" \
        "$(du -sh --apparent-size "$scratch/flat" | cut -f1)"
done
code=0
wait "$load" || code=$?
load=''
grep -v 'errors$' "$scratch/load.log" || true
tail -n +$((readings / 5 + 1)) "$scratch/resident" | sort -n | awk '
    NR == 1 { low = $1 }
    { high = $1 }
    END { printf "last 80 %%: min %d KiB, max %d KiB, max over min %.3f, %d readings\n", low, high, high / low, NR }'
[[ $code == 0 ]] || die "the driver ended with $code"
