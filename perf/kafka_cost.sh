#!/usr/bin/env bash
# Whose functions take the time of an event that goes to Kafka: librdkafka's, the kernel's, or ours?
#
# A profile, which a scenario does not take. What an event costs in all, and by thread, is perf/scenarios/kafka.toml.
#
#   RATE      events a second                            (default: 100000)
#   EVENTS, BYTES, SECONDS_MEASURED                      (default: 10, 200 and 8)
#   TYPES     values of publisher.type, in turn          (default: "journal kafka spool")
#   OUT       folder for the raw profiles                (default: target/profile)
#
# usage: [DIR=/mnt/disk] perf/kafka_cost.sh
#
# Wants Java and Maven, as tests/run.sh does, and perf (Debian: linux-perf). Reading it: at one rate the processor time of
# the whole server for each event can be compared; samples tell it apart by thread and by whose function it is. The
# functions of librdkafka begin with rd_, rk_, or are those of what it is built with (checksums, compression, TLS); what libc does for it
# counts as libc. Sampling itself takes some of the time: read shares.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
source "$root/perf/broker.sh"

rate=${RATE:-100000}
events=${EVENTS:-10}
seconds=${SECONDS_MEASURED:-8}
out=${OUT:-$root/target/profile}

ticks_of() {
    awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

# whose FILE: shares of the samples, by who and on which thread.
whose() {
    perf report -i "$1" --no-children --sort comm,dso,symbol --field-separator '|' --stdio 2>/dev/null |
        awk -F'|' '
            /^#/ || NF < 4 { next }
            {
                share = $1 + 0; thread = $2; object = $3; name = $4
                gsub(/ /, "", thread); sub(/^ *\[.\] */, "", name)
                if (object ~ /kernel|\[k/ || $4 ~ /\[k\]/) who = "kernel"
                else if (name ~ /^_?(rd_|rdk|rk_|rkb|cnd_|mtx_|thrd_|unittest_|crc32c|mz_|LZ4|ZSTD|snappy|tls_|lz4)/) who = "librdkafka"
                else if (object ~ /libc|ld-linux|vdso/) who = "libc"
                else if (object ~ /ssl|crypto|libz/) who = "librdkafka"
                else who = "ours"
                place = thread ~ /^shard/ ? "shard" : (thread ~ /^rdk|rdkafka/ ? "librdkafka threads" : "other threads")
                of[who] += share; on[place] += share; both[place " | " who] += share
            }
            END {
                for (place in on) printf "    %5.1f %%  %s\n", on[place], place
                for (pair in both) if (0.5 <= both[pair]) printf "    %5.1f %%  %s\n", both[pair], pair
                printf "    in all: librdkafka %.1f %%, kernel %.1f %%, libc %.1f %%, ours %.1f %%\n",
                    of["librdkafka"], of["kernel"], of["libc"], of["ours"]
            }' | sort -k1,1
}

# measure TYPE
measure() {
    local ticks code=0
    start_publisher "store-$1" "$1" -- taskset -c 0
    taskset -c 1 "$BENCH" load --url "$url" --connections 32 --events "$events" --bytes "${BYTES:-200}" --rate "$rate" \
        --arrivals poisson --warmup 3 --seconds "$seconds" --json "$scratch/$1.json" >"$scratch/$1.log" 2>&1 &
    load=$!
    sleep 4
    ticks=$(ticks_of "$server")
    perf record --quiet --freq 1999 --pid "$server" --output "$out/$1.data" -- sleep $((seconds - 2)) 2>"$scratch/perf.log" ||
        { cat "$scratch/perf.log" >&2; die 'perf could not record'; }
    ticks=$(($(ticks_of "$server") - ticks))
    wait "$load" || code=$?
    load=''
    [[ $code == 0 ]] || { tail -5 "$scratch/$1.log" >&2; die "the driver ended with $code"; }
    awk -v type="$1" -v ticks="$ticks" -v hertz="$ticks_per_second" -v time=$((seconds - 2)) -v rate="$rate" 'BEGIN {
        printf "%s: %.2f us of processor for each event, %.0f %% of the core\n", type, 1e6 * ticks / hertz / time / rate,
            100 * ticks / hertz / time
    }'
    whose "$out/$1.data"
    stop_server
    drop_store "store-$1"
}

stage_open "$@"
command -v perf >/dev/null || die 'perf is needed (Debian: linux-perf)'
mkdir -p "$out"
trap end_broker EXIT
start_broker
mark=$(processor_time)
for type in ${TYPES:-journal kafka spool}; do
    measure "$type"
done
stolen_since "$mark"
