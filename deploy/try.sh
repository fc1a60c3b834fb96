#!/usr/bin/env bash
# Ringtail in a minute: builds it, starts it on its own log, sends events with clients that are not
# ours, reads them back. Everything happens in one temporary folder and on this machine.
#
#   deploy/try.sh          goes on serving until Ctrl-C
#   deploy/try.sh --once   stops by itself (so it does without a terminal)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:$HOME/.cargo/bin"

once=false
case ${1:-} in
--once) once=true ;;
'') ;;
*)
    echo "usage: deploy/try.sh [--once]" >&2
    exit 2
    ;;
esac
[[ -t 0 && -t 1 ]] || once=true

step() { printf '\n==> %s\n' "$*"; }
fail() {
    printf '\ndeploy/try.sh: %s\n' "$*" >&2
    exit 1
}
root() {
    if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

step "Looking for tools"
missing=()
for tool in gcc g++ make pkg-config curl python3; do
    command -v "$tool" >/dev/null 2>&1 || missing+=("$tool")
done
[[ -f /usr/include/openssl/ssl.h ]] || missing+=(libssl-dev)
[[ -f /usr/include/zlib.h ]] || missing+=(zlib1g-dev)
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
if ((${#missing[@]})); then
    step "Installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { root apt-get update -qq && root apt-get install -y -qq --no-install-recommends "${missing[@]}"; } </dev/null ||
        fail "install these by hand: ${missing[*]}"
fi
command -v cargo >/dev/null 2>&1 || fail "cargo is missing: install Rust first"

step "Building (release; the first time takes minutes)"
cargo build --release --locked --package ringtail </dev/null
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
ringtail=$target/release/ringtail

# Direct I/O wants a disk: a folder in memory would only pretend.
folder=$(mktemp -d "$target/try.XXXXXX")
server=
clean_up() {
    if [[ -n $server ]] && kill -TERM "$server" 2>/dev/null; then
        wait "$server" || true
    fi
    rm -rf "$folder"
}
trap clean_up EXIT

python=$target/try-venv/bin/python
if ! "$python" -c 'import websockets' 2>/dev/null; then
    step "Getting Python's websockets"
    python3 -m venv "$target/try-venv" &&
        "$python" -m pip install --quiet --disable-pip-version-check \
            "$(grep '^websockets==' tests/python/requirements.txt)" ||
        echo "    it cannot be had here: curl alone will send"
fi

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 12000))
        if ! taken "$port"; then
            echo "$port"
            return
        fi
    done
    fail "no free port was found"
}
port=$(free_port)
admin=$(free_port)
url=http://127.0.0.1:$port
admin_url=http://127.0.0.1:$admin

step "Starting the engine (what it says: $folder/ringtail.log)"
SERVER_WEBSOCKET_PORT=$port SERVER_GRPC_PORT=0 RINGTAIL_ADMIN_PORT=$admin \
    RINGTAIL_LOG_VOLUMES=$folder/store RINGTAIL_LOG_SEGMENT_BYTES=$((32 << 20)) \
    "$ringtail" serve </dev/null >"$folder/ringtail.log" 2>&1 &
server=$!
for _ in {1..300}; do
    kill -0 "$server" 2>/dev/null || {
        cat "$folder/ringtail.log" >&2
        server=
        fail "the engine did not start; its words are above"
    }
    ready=$(curl -s -o /dev/null -w '%{http_code}' "$admin_url/readyz" || true)
    [[ $ready == 200 ]] && break
    sleep 0.1
done
[[ $ready == 200 ]] || fail "the engine is not ready after 30 seconds"
echo "    clients send to $url/api/v1/events (HTTP POST or WebSocket), operators ask $admin_url"

step "curl sends two events by REST, as JSON"
cat >"$folder/events.json" <<JSON
{"req_guid": "from-curl",
 "events": [{"type": "page", "event_bytes": "$(printf 'opened /pricing' | base64)"},
            {"type": "click", "event_bytes": "$(printf 'pressed Buy' | base64)"}]}
JSON
cat "$folder/events.json"
printf 'answer: '
curl -sS --fail-with-body -H 'Content-Type: application/json' -H 'X-User-ID: curl' \
    --data-binary @"$folder/events.json" "$url/api/v1/events"
echo

if "$python" -c 'import websockets' 2>/dev/null; then
    step "Python sends 1000 requests over one WebSocket, as JSON"
    "$python" - "$port" <<'PYTHON'
import base64, json, sys
from websockets.sync.client import connect

with connect(f"ws://127.0.0.1:{sys.argv[1]}/api/v1/events",
             additional_headers={"X-User-ID": "python"}) as socket:
    for number in range(1000):
        value = base64.b64encode(b"scrolled to %d" % number).decode()
        events = [{"type": "scroll", "event_bytes": value}]
        socket.send(json.dumps({"req_guid": f"python-{number}", "events": events}))
    answers = [json.loads(socket.recv()) for _ in range(1000)]
good = sum(answer["status"] == 1 for answer in answers)
print("last answer:", json.dumps(answers[-1]))
print(f"{good} of {len(answers)} requests were acknowledged: their events are on disk")
sys.exit(good != len(answers))
PYTHON
fi

step "Read back: $admin_url/topics"
curl -sS --fail-with-body "$admin_url/topics"
echo

# A topic has a partition for each shard; the one that took curl's connection holds its events.
records() { curl -s --fail "$admin_url/topics/$1/partitions/$2/records?offset=0&limit=3" || true; }
for topic in clickstream-page-log clickstream-click-log clickstream-scroll-log; do
    for partition in {0..63}; do
        lines=$(records "$topic" "$partition")
        [[ -n $lines ]] || continue
        step "Read back: the first records of $topic, partition $partition"
        printf '%s\n' "$lines" | python3 -c '
import base64, json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(line.strip(), " value:", base64.b64decode(row["value_base64"]).decode())'
        break
    done
done

step "From the metrics page: $admin_url/metrics"
curl -sS --fail "$admin_url/metrics" |
    grep -E '^(batches_read|events_rx|ringtail_(events|commits|batches|committed))[a-z_]*_total' |
    grep -v ' 0$'

if ! $once; then
    step "It goes on serving. Try:"
    echo "    $ringtail send --url ws://127.0.0.1:$port/api/v1/events --type mine --count 10000"
    echo "    curl $admin_url/topics"
    echo "    everything is in $folder; Ctrl-C stops the engine, shows its log and cleans up"
    trap 'echo' INT
    wait "$server" || true
    trap - INT
fi

step "Stopping (TERM: answers what it took, seals the log)"
kill -TERM "$server" 2>/dev/null || true
status=0
wait "$server" || status=$?
server=
((status == 0)) || {
    cat "$folder/ringtail.log" >&2
    fail "the engine ended with $status"
}

step "The same events, read from the stopped log: ringtail log cat"
"$ringtail" log cat --volumes "$folder/store" --format text --limit 5
echo "and checked: ringtail log verify"
"$ringtail" log verify --volumes "$folder/store"

step "Done; the temporary folder goes. The program is $ringtail, its settings are in README.md."
