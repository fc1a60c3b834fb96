#!/usr/bin/env bash
# What does a shard do with its time, at a given shape of load, in the steady state?
#
# usage: perf/profile.sh cpu          where processor time goes: a table and a flame graph
#        perf/profile.sh counters     cycles, instructions, misses, switches, system calls for each event
#        perf/profile.sh calls        system calls of the shard's thread, by name, for each batch
#        perf/profile.sh allocations  how often the allocator is asked for each batch, and by whom
#        perf/profile.sh waits        what the shard's thread waits for when it is off its core
#
#   EVENTS, BYTES   shape of a batch                                   (default: 10 and 200)
#   CONNECTIONS, WINDOW   who sends, and how many batches each awaits  (default: 32 and 16)
#   SECONDS_MEASURED                                                   (default: 5)
#   OUT             folder for graphs and raw figures                  (default: target/profile)
#   and what perf/stage.sh takes (DIR, RINGTAIL, BENCH, KEEP)
#
# Reading it: the whole server is confined to core 0, the driver to the last core, segments are
# recycled before anything is measured. Tracing slows what it traces: read shares and counts, not
# rates; `calls` slows most. Counters that the machine has not (virtual ones have few) are told as
# "not supported" and left out. "allocations" puts a breakpoint of the kernel's (a uprobe) on the
# entries of the allocator: nothing is linked in or preloaded; it needs root, as `waits` does, and
# mounts the kernel's tracing folder while it runs when it is not mounted.

source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

what=${1:-}
[[ $what == @(cpu|counters|calls|allocations|waits) ]] ||
    die 'usage: perf/profile.sh cpu|counters|calls|allocations|waits'
events=${EVENTS:-10}
bytes=${BYTES:-200}
seconds=${SECONDS_MEASURED:-5}
out=${OUT:-$root/target/profile}
name=$what-${events}x$bytes
last=$(($(nproc) - 1))
# What the allocator's library calls its ways in, those that the program uses.
ways='mi_malloc mi_malloc_aligned mi_zalloc mi_zalloc_aligned mi_realloc mi_realloc_aligned'
mounted=''
probed=''

need() {
    command -v "$1" >/dev/null || die "$1 is needed (Debian: $2)"
}

# The folder of the kernel's trace events, which tracepoints and uprobes are found by.
mount_tracing() {
    [[ -e /sys/kernel/tracing/available_events ]] && return
    mount -t tracefs none /sys/kernel/tracing 2>/dev/null || die "$what needs root, to read the kernel's trace events"
    mounted=1
}

leave() {
    stage_close
    [[ -z $probed ]] || perf probe --quiet --del 'ringtail_allocates:*' 2>/dev/null
    [[ -z $mounted ]] || umount /sys/kernel/tracing
}

# taken: batches that the server has taken so far.
taken() {
    curl --fail --silent "http://127.0.0.1:$admin/metrics" |
        awk '/^ringtail_batches_accepted_total/ { sum += $NF } END { printf "%.0f", sum }'
}

shard_thread() {
    local task
    for task in "/proc/$server"/task/*; do
        if grep -qx 'shard-0' "$task/comm"; then basename "$task"; fi
    done
}

# during COMMAND...: runs it under load, and sets `batches` to what was taken meanwhile.
during() {
    local before
    before=$(taken)
    "$@"
    batches=$(($(taken) - before))
    ((0 < batches)) || die 'the server took nothing meanwhile'
}

# What perf is to sample by: cycles where they are counted, else the clock.
clock_event() {
    if perf stat -e cycles true 2>&1 | grep -q 'not supported'; then echo cpu-clock; else echo cycles; fi
}

# Names come from the symbols, stacks from the tables that panics need: no special build.
record() {
    perf record --quiet --call-graph dwarf,8192 -o "$out/$name.data" "$@" 2>"$scratch/perf.log" ||
        { cat "$scratch/perf.log" >&2; die 'perf could not record'; }
}

stacks() {
    perf script --no-inline -i "$out/$name.data" "$@" 2>/dev/null
}

graph() {
    "$root/perf/flame.py" --folded "$out/$name.folded" --title "$what, $events x $bytes B" "$@" >"$out/$name.svg"
    echo "  graph     $out/$name.svg"
}

# top FILE: functions by what they take themselves, out of folded stacks.
top() {
    awk '{ weight = $NF; sub(/ [0-9]+$/, ""); n = split($0, at, ";"); self[at[n]] += weight; all += weight }
        END { for (f in self) printf "  %6.2f %%  %s\n", 100 * self[f] / all, f }' "$1" | sort -rn | head -25
}

profile_cpu() {
    during record -F 499 -e "$(clock_event)" -p "$server" -- sleep "$seconds"
    stacks | graph
    top "$out/$name.folded"
}

profile_counters() {
    local counted=cycles,instructions,branch-misses,cache-misses,task-clock,context-switches,cpu-migrations,page-faults
    [[ -e /sys/kernel/tracing/events/raw_syscalls ]] && counted+=,raw_syscalls:sys_enter
    during perf stat -x ';' -e "$counted" -o "$scratch/stat" -p "$server" -- sleep "$seconds"
    awk -F ';' -v batches="$batches" -v events="$events" '
        /^#/ || NF < 3 { next }
        $1 ~ /not/ { printf "  %-24s %s\n", $3, $1; next }
        { printf "  %-24s %14.5f for each batch %14.6f for each event %s\n", $3, $1 / batches, $1 / batches / events, $2 }
    ' "$scratch/stat"
}

profile_calls() {
    during timeout -s INT "$seconds" strace -c -o "$scratch/strace" -p "$(shard_thread)" 2>/dev/null || true
    awk -v batches="$batches" '
        $4 ~ /^[0-9]+$/ { printf "  %9.4f a batch  %9d  %s\n", $4 / batches, $4, $NF }' "$scratch/strace"
}

profile_allocations() {
    local way list=''
    probed=1
    for way in $ways; do
        perf probe --quiet -x "$RINGTAIL" --add "ringtail_allocates:$way=$way" 2>/dev/null &&
            list+="${list:+,}ringtail_allocates:$way"
    done
    [[ $list ]] || die "no allocator's entry was found in $RINGTAIL"
    during perf stat -x ';' -e "$list" -o "$scratch/stat" -t "$(shard_thread)" -- sleep "$seconds"
    awk -F ';' -v batches="$batches" '/^#/ || NF < 3 { next }
        { printf "  %9.4f a batch  %9d  %s\n", $1 / batches, $1, $3; all += $1 }
        END { printf "  %9.4f a batch  in all\n", all / batches }' "$scratch/stat"
    during record -c 1 -e "$list" -t "$(shard_thread)" -- sleep 1
    stacks | graph
    echo '  by whom, the five functions nearest to the allocator:'
    awk -v batches="$batches" '{ weight = $NF; sub(/ [0-9]+$/, ""); n = split($0, at, ";"); who = ""
            for (i = n; i > n - 5 && 0 < i; i--) who = who (who ? " < " : "") at[i]
            sum[who] += weight }
        END { for (who in sum) printf "  %9.4f a batch  %s\n", sum[who] / batches, who }' "$out/$name.folded" |
        sort -rn | head -15
}

profile_waits() {
    local thread
    thread=$(shard_thread)
    during record -a -e sched:sched_switch --filter "prev_pid == $thread || next_pid == $thread" -- sleep "$seconds"
    stacks -F comm,tid,time,event,trace,ip,sym,dso | graph --off-cpu "$thread"
    awk -v seconds="$seconds" '{ sum += $NF } END { printf "  %6.2f %%  of the time off its core\n", sum / seconds / 1e4 }' \
        "$out/$name.folded"
    awk '{ weight = $NF; sub(/ [0-9]+$/, ""); n = split($0, at, ";"); who[at[n] " in " at[n - 1]] += weight; all += weight }
        END { for (w in who) printf "  %6.2f %%  %s\n", 100 * who[w] / all, w }' "$out/$name.folded" | sort -rn | head -12
}

case $what in
calls) need strace strace ;;
*) need perf linux-perf ;;
esac
case $what in cpu | allocations | waits) need python3 python3 ;; esac
mkdir -p "$out"
stage_open "$@"
trap leave EXIT
case $what in
allocations | waits) mount_tracing ;;
# Without it system calls are not counted, and the rest is.
counters) [[ $EUID != 0 ]] || mount_tracing ;;
esac
start_server profile RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0 EVENT_ACK=1 \
    RINGTAIL_LOG_RETENTION_BYTES=$((512 << 20)) -- taskset -c 0
fill $((512 << 20))
taskset -c "$last" "$BENCH" load --url "$url" --connections "${CONNECTIONS:-32}" --window "${WINDOW:-16}" \
    --events "$events" --bytes "$bytes" --warmup 0 --seconds $((4 * seconds + 30)) >"$scratch/load.log" &
load=$!
sleep 2
echo "== $what, $events x $bytes B"
"profile_$what"
echo "  batches   $batches while it was looked at"
