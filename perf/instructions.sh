#!/usr/bin/env bash
# How many instructions does one batch take from the bytes of a socket to its acknowledgement?
#
# usage: perf/instructions.sh                   counts, and fails on 5 % more than perf/instructions.txt says
#        perf/instructions.sh --record REASON   counts, and writes perf/instructions.txt anew, with the reason
#
# callgrind counts every instruction of one program, so the figure does not depend on what else the
# machine does. What is counted: a masked WebSocket frame is received (a copy), unmasked and decoded,
# routed, appended to the open frame of a journal on a disk in memory; then the commit, and the
# answers. Not counted: the runtime, sockets, the kernel (see perf/profile.sh for those).
#
# PROGRAM    one that is built already, to count instead
# BASELINE   another file than perf/instructions.txt
#
# Another compiler, another version of a library or another kind of processor moves the figures by
# some percent: record them anew, with the reason, in the commit that changes them. `tests/run.sh` ends with
# this script, so nobody goes by it unseen.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:$HOME/.cargo/bin"

baseline=${BASELINE:-perf/instructions.txt}
tolerance=5
# Shape, and how many batches share a commit: a quiet journal, and a busy one.
cases=('1x200 1' '1x200 16' '10x200 1' '10x200 16' '50x256 1' '50x256 16')

reason=''
if (($#)); then
    [[ $# == 2 && $1 == --record && $2 ]] || {
        echo 'usage: perf/instructions.sh [--record REASON]' >&2
        exit 2
    }
    reason=${2//$'\n'/ }
fi
command -v valgrind >/dev/null || {
    echo 'instructions.sh: valgrind is needed (Debian: valgrind)' >&2
    exit 2
}

program=${PROGRAM:-}
if [[ ! $program ]]; then
    cargo build --release --locked --quiet -p ringtail --features count --bin instructions
    program=${CARGO_TARGET_DIR:-target}/release/instructions
fi
[[ -x $program ]] || {
    echo 'instructions.sh: the program was not built' >&2
    exit 2
}
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

# count SHAPE TOGETHER: instructions for each batch.
count() {
    local log=$scratch/log batches
    valgrind --tool=callgrind --callgrind-out-file="$scratch/out" --collect-atstart=no \
        --toggle-collect='*ringtail_measured*' "$program" "$1" "$2" >"$scratch/said" 2>"$log" ||
        { cat "$log" >&2; exit 2; }
    batches=$(sed -n 's/^batches //p' "$scratch/said")
    awk -v batches="$batches" '/Collected :/ { printf "%.0f", $NF / batches }' "$log"
}

failed=0
now=$scratch/now
for case in "${cases[@]}"; do
    read -r shape together <<<"$case"
    counted=$(count "$shape" "$together")
    ((0 < counted)) || {
        echo 'instructions.sh: nothing was counted: is ringtail_measured still a function of its own?' >&2
        exit 2
    }
    before=$(awk -v shape="$shape" -v together="$together" '$1 == shape && $2 == together { print $3 }' "$baseline" 2>/dev/null || true)
    printf '%-8s %3s %10s\n' "$shape" "$together" "$counted" >>"$now"
    verdict=$(awk -v now="$counted" -v before="${before:-0}" -v tolerance=$tolerance 'BEGIN {
        if (before == 0) { print "not recorded"; exit }
        change = 100 * (now - before) / before
        printf "%+.1f %%%s", change, tolerance < change ? "  MORE than is allowed" : ""
    }')
    printf '%-8s %3s to a commit %10s instructions a batch  %s\n' "$shape" "$together" "$counted" "$verdict"
    [[ $verdict == *MORE* || $verdict == 'not recorded' ]] && failed=1
done

# The reasons so far, oldest first.
reasons() {
    sed -n '/^# [0-9]\{4\}-[0-9][0-9]-[0-9][0-9]: /p' "$baseline" 2>/dev/null || true
}

if [[ $reason ]]; then
    told=$(reasons)
    {
        echo '# Instructions for one batch: shape, batches to a commit, instructions. By perf/instructions.sh --record.'
        echo "# $(rustc --version), $(valgrind --version), $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1)"
        echo '# Why these are the figures, oldest first:'
        [[ ! $told ]] || echo "$told"
        echo "# $(date -u +%F): $reason"
        cat "$now"
    } >"$scratch/recorded"
    cp "$scratch/recorded" "$baseline"
    echo "recorded in $baseline"
elif ((failed)); then
    echo "more than $tolerance % more, or not recorded: mend it, or record it anew in the same commit (--record REASON)" >&2
    echo "recorded with: $(sed -n '2s/^# //p' "$baseline" 2>/dev/null); here: $(rustc --version)" >&2
    exit 1
fi
