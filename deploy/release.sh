#!/usr/bin/env bash
# Builds the fastest `ringtail` that this machine can make, and says what each step gave.
#
#   deploy/release.sh                 release build, profile-guided (PGO), then laid out anew (BOLT)
#   deploy/release.sh --no-measure    the same without measuring: for a machine that does other work
#
# The programs are in DEST: ringtail-plain (cargo's release profile: optimised, thin LTO, one code
# unit, panics abort), ringtail-pgo, ringtail-bolt, and `ringtail`, a copy of the last that was made.
# A step whose tools cannot be had is left out and said so.
#
# PGO: the compiler learns from a run of an instrumented build what is hot. It wants llvm-profdata of
# the LLVM that this rustc has: from `rustup component add llvm-tools`, or Debian's llvm-NN.
# BOLT: the finished program's functions are laid out by what an instrumented copy of it ran; it
# wants llvm-bolt of LLVM 14 or newer (Debian's bolt-NN) and the program's relocations.
#
# The training run is the durable path: WebSocket, batches of 1, 10 and 50 events, and JSON by REST.
#
# DIR        folder on a disk (ext4 or xfs) for the stores     (default: /var/tmp)
# DEST       where the programs go                    (default: target/optimised)
# CPU        what -C target-cpu is to be        (default: the target's own, which runs anywhere)
# PLAIN      a program that is the plain one, to spare its build
# ROUNDS     measurements of each program, interleaved A B C A B C   (default: 3)
#
# About CPU: the checksums, the search for UTF-8 and memcpy choose their instructions while they run,
# so x86-64-v3 gains little and stops with an illegal instruction on a host without AVX2. `native` is
# for a program that stays on this kind of machine.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:$HOME/.cargo/bin"

measure=true
case ${1:-} in
'') ;;
--no-measure) measure=false ;;
*)
    echo "usage: deploy/release.sh [--no-measure]" >&2
    exit 2
    ;;
esac

step() { printf '\n==> %s\n' "$*"; }

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
dest=$(realpath -m "${DEST:-$target/optimised}")
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
flags=${CPU:+-C target-cpu=$CPU}
mkdir -p "$dest"

# tool NAME: the program of this name that fits rustc's LLVM. BOLT reads programs, not LLVM's own files, so
# that its newest version will do.
tool() {
    local found candidates
    candidates=("$(rustc --print sysroot)/lib/rustlib/$host/bin/$1" "$1-$llvm" "/usr/lib/llvm-$llvm/bin/$1")
    if [[ $1 == llvm-bolt ]]; then
        readarray -O "${#candidates[@]}" -t candidates < <(printf '%s\n' /usr/lib/llvm-*/bin/llvm-bolt | sort -rV)
    fi
    for found in "${candidates[@]}"; do
        if found=$(command -v "$found"); then
            echo "$found"
            return
        fi
    done
    return 1
}

# want TOOL DEBIAN-PACKAGE: tries to install what is missing.
want() {
    tool "$1" >/dev/null && return
    step "Looking for $1"
    rustup component add llvm-tools >/dev/null 2>&1 || true
    tool "$1" >/dev/null && return
    if ((EUID == 0)); then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null 2>&1 || true
    fi
    tool "$1" >/dev/null
}

# build NAME FLAGS...: the release profile with more flags, in a folder of its own, into DEST.
build() {
    local name=$1
    shift
    step "Building ringtail-$name"
    # With a target named, the flags are not those of build scripts.
    RUSTFLAGS="$flags $*" cargo build --release --locked --quiet -p ringtail \
        --target "$host" --target-dir "$target/optimised-build"
    cp "$target/optimised-build/$host/release/ringtail" "$dest/ringtail-$name"
    cp "$dest/ringtail-$name" "$dest/ringtail"
}

# train PROGRAM VAR=VALUE...: a run of everything that is hot.
train() {
    local program=$1
    shift
    step "Training with $(basename "$program")"
    RINGTAIL=$program BENCH=$bench deploy/train.sh "$@"
}

bench=$target/release/ringtail-bench
if [[ ! -x $bench ]]; then
    step 'Building the load driver'
    cargo build --release --locked --quiet -p ringtail-bench
fi

made=(plain)
# Relocations cost nothing at run time and let BOLT move functions.
relocations=-Clink-arg=-Wl,--emit-relocs
if [[ ${PLAIN:-} ]]; then
    cp "$PLAIN" "$dest/ringtail-plain"
else
    build plain
fi

if want llvm-profdata "llvm-$llvm"; then
    rm -rf "$dest/profile" && mkdir -p "$dest/profile"
    build counting "-Cprofile-generate=$dest/profile"
    train "$dest/ringtail-counting"
    "$(tool llvm-profdata)" merge -o "$dest/ringtail.profdata" "$dest/profile"
    build pgo "-Cprofile-use=$dest/ringtail.profdata" $relocations
    rm -f "$dest/ringtail-counting"
    made+=(pgo)
    newest=$(apt-cache search --names-only '^bolt-[0-9]+$' 2>/dev/null | sort -rV | cut -d' ' -f1 | head -1)
    if want llvm-bolt "${newest:-bolt-$llvm}"; then
        step 'Laying out ringtail-pgo anew'
        bolt=$(tool llvm-bolt)
        "$bolt" "$dest/ringtail-pgo" -o "$dest/ringtail-watched" -instrument \
            -instrumentation-file="$dest/bolt.fdata" >"$dest/bolt.log" 2>&1 &&
            train "$dest/ringtail-watched" &&
            "$bolt" "$dest/ringtail-pgo" -o "$dest/ringtail-bolt" -data="$dest/bolt.fdata" \
                -reorder-blocks=ext-tsp -reorder-functions=cdsort -split-functions -split-all-cold \
                -icf=1 -update-debug-sections -dyno-stats >>"$dest/bolt.log" 2>&1 &&
            cp "$dest/ringtail-bolt" "$dest/ringtail" && made+=(bolt) ||
            echo "    BOLT did not work here ($dest/bolt.log): left out"
        rm -f "$dest/ringtail-watched"
    else
        echo "    llvm-bolt (${newest:-bolt-$llvm}) cannot be had here: left out"
    fi
else
    echo "    llvm-profdata of LLVM $llvm cannot be had here: neither PGO nor BOLT"
fi

step "Made in $dest"
for name in "${made[@]}"; do
    printf '    ringtail-%-8s %s bytes\n' "$name" "$(stat -c %s "$dest/ringtail-$name")"
done
if $measure; then
    step 'Measuring: interleaved, the whole server on CPU 0, the driver on the last'
    ROUNDS=${ROUNDS:-3} BENCH=$bench deploy/train.sh --compare "${made[@]/#/$dest/ringtail-}"
fi
