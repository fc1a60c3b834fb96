#!/usr/bin/env bash
# Builds Ringtail and holds it to its promises. Sets up what it needs on Debian or Ubuntu with Rust.
#
#   tests/run.sh                     everything
#   tests/run.sh -p ringtail-tests   arguments go to `cargo test`
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"

step() { printf '\n==> %s\n' "$*"; }
fail() {
    printf '\nNOT KEPT: %s\n' "$*" >&2
    exit 1
}
ended() {
    local status=$?
    ((status == 0)) || printf '\ntests/run.sh ended with %s\n' "$status" >&2
}
trap ended EXIT

root() {
    if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

# Debian packages for programs that are missing. Python's venv module counts as one.
missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
step "Looking for tools"
need gcc gcc
need g++ g++
need make make
need curl curl
need mkfs.ext4 e2fsprogs
need losetup mount
need mount mount
need python3 python3
need pkg-config pkg-config
# The real Kafka for the tests runs on Java and comes by Maven.
need java default-jre-headless
need mvn maven
need flock util-linux
[[ -f /usr/include/openssl/ssl.h ]] || missing+=(libssl-dev)
[[ -f /usr/include/zlib.h ]] || missing+=(zlib1g-dev)
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
if ((${#missing[@]})); then
    step "Installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    root apt-get update -qq </dev/null || fail "apt-get update failed; install by hand: ${missing[*]}"
    root apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null ||
        fail "apt-get failed; install by hand: ${missing[*]}"
fi
command -v cargo >/dev/null 2>&1 ||
    fail "cargo is missing: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer"

target=${CARGO_TARGET_DIR:-target}
venv=$target/tests-venv
wanted=tests/python/requirements.txt
if ! cmp -s "$wanted" "$venv/requirements.txt"; then
    step "Making Python's foreign clients in $venv"
    rm -rf "$venv"
    mkdir -p "$target"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted" ||
        fail "the packages of $wanted could not be installed"
    cp "$wanted" "$venv/requirements.txt"
fi

step "Fetching Kafka"
CARGO_TARGET_DIR=$target tests/kafka/broker.sh fetch || fail "Apache Kafka could not be fetched by Maven"

step "Building (debug)"
cargo build --workspace --locked </dev/null || fail "it does not build"

if (($# == 0)); then set -- --workspace; fi
step "Testing: cargo test $*"
cargo test --locked --no-fail-fast "$@" </dev/null || fail "at least one promise; its name is above"

printf '\nKEPT: every promise that was asked for.\n'
