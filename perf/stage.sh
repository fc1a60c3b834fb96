# The stage of every scenario: sourced by the scripts beside it, not run by itself.
#
# Settable from outside, for all scenarios:
#   DIR        folder on the disk to measure; a fresh folder is made in it     (default: /var/tmp)
#   RINGTAIL   the server's program                         (default: built here, in release mode)
#   BENCH      the driver's program                         (default: built here, in release mode)
#   DRIVE      the program that drives a journal alone (default: built here, in release mode)
#   KEEP=1     leave the folder and the server's log behind

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
server=''
scratch=''
ticks_per_second=$(getconf CLK_TCK)

die() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# Makes the folder, builds what is not given, and says where all this is measured.
stage_open() {
    scratch=$(mktemp -d "${DIR:-/var/tmp}/ringtail-perf.XXXXXX")
    trap stage_close EXIT
    trap 'exit 130' INT TERM PIPE
    if [[ -z ${RINGTAIL:-} || -z ${BENCH:-} ]]; then
        (cd "$root" && cargo build --release --quiet -p ringtail -p ringtail-bench)
    fi
    local built=${CARGO_TARGET_DIR:-$root/target}/release
    RINGTAIL=${RINGTAIL:-$built/ringtail}
    BENCH=${BENCH:-$built/ringtail-bench}
    [[ -x $RINGTAIL ]] || die "no program at $RINGTAIL"
    [[ -x $BENCH ]] || die "no program at $BENCH"
    # Each connection is an open file, in the server too.
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
    describe "$@"
}

# Builds what drives a journal without a server; for the scenarios that measure the log alone.
need_drive() {
    if [[ -z ${DRIVE:-} ]]; then
        (cd "$root" && cargo build --release --quiet -p ringtail --example drive_log)
        DRIVE=${CARGO_TARGET_DIR:-$root/target}/release/examples/drive_log
    fi
    [[ -x $DRIVE ]] || die "no program at $DRIVE"
}

# drive NAME [OPTIONS...]: measures the log alone, on core 0; leaves the figures in $scratch/NAME.out.
drive() {
    local name=$1
    shift
    rm -rf -- "${scratch:?}/journal"
    taskset -c 0 "$DRIVE" --dir "$scratch/journal" "$@" >"$scratch/$name.out" &
    load=$!
    local code=0
    wait "$load" || code=$?
    load=''
    rm -rf -- "${scratch:?}/journal"
    [[ $code == 0 ]] || die "the journal's driver ended with $code"
}

# figure NAME FILE: a figure that `drive` has left.
figure() {
    awk -v name="$1" '$1 == name { print $2 }' "$2"
}

need_fio() {
    command -v fio >/dev/null || die 'fio is needed (Debian: fio)'
}

# Makes the file that fio overwrites, wholly written, as the log's recycled segments are.
fio_fill() {
    fio --name=fill --filename="$scratch/fio.file" --size=1g --rw=write --bs=1m --direct=1 \
        --ioengine=io_uring --iodepth=4 --output=/dev/null
}

# fio_run NAME BLOCK DEPTH [OPTIONS...]
fio_run() {
    local name=$1 block=$2 depth=$3
    shift 3
    taskset -c 0 fio --name=log --filename="$scratch/fio.file" --size=1g --rw=write --bs="$block" \
        --iodepth="$depth" --ioengine=io_uring --direct=1 --sync=dsync --overwrite=1 \
        --runtime="$seconds" --time_based --lat_percentiles=1 --output-format=json "$@" \
        >"$scratch/$name.json"
}

# fio_figure KEY FILE: bw_bytes, or a percentile of the whole latency in nanoseconds.
fio_figure() {
    awk -v key="\"$1\"" '
        /^ *"write" : \{/ { writing = 1 }
        /^ *"trim" : \{/ { writing = 0 }
        writing && /"[a-z]*lat_ns" : \{/ { kind = $1 }
        writing && $1 == key && (key == "\"bw_bytes\"" || kind == "\"lat_ns\"") {
            gsub(/,/, "", $3)
            print $3
            exit
        }' "$2"
}

# ratio A B
ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b == 0 ? 0 : a / b }'
}

# median: of the numbers on standard input, one a line.
median() {
    sort -g | awk '{ all[NR] = $1 } END { print NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'
}

# Prints all processor time so far: what others' machines took of it, what was idle, all.
processor_time() {
    awk '/^cpu / { print $9, $5 + $6, $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9 }' /proc/stat
}

# stolen_since MARK: what was stolen and what was idle since `processor_time` was printed.
stolen_since() {
    processor_time | awk -v mark="$1" '{
        split(mark, was, " ")
        all = $3 - was[3]
        printf "stolen   %.1f %% of all processors, idle %.1f %%\n", 100 * ($1 - was[1]) / all, 100 * ($2 - was[2]) / all
    }'
}

stage_close() {
    set +e
    # The driver first: it ends by itself when its server goes, but an error of ours may come first.
    [[ -n ${load:-} ]] && kill "$load" 2>/dev/null && wait "$load" 2>/dev/null
    stop_server
    if [[ ${KEEP:-} ]]; then
        echo "left behind: $scratch"
    elif [[ -n $scratch ]]; then
        rm -rf -- "$scratch"
    fi
}

describe() {
    echo "machine  $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), $(nproc --all) cores," \
        "$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
    echo "kernel   $(uname -r)"
    echo "disk     $(df --output=source,fstype "$scratch" | tail -1 | tr -s ' ')"
    echo "date     $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    echo "commit   $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)"
    echo "command  $0${*:+ $*}"
    echo
}

# Prints a port that nobody listens on, below the range that the kernel gives to clients.
free_port() {
    local port
    while :; do
        port=$((10000 + RANDOM % 20000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

# start_server STORE [VAR=VALUE...] [-- WRAPPER...]
# Starts the server on a folder below the stage, new or used, and waits until it is ready.
# Sets: server (process id), port, admin, url.
start_server() {
    local store=$scratch/$1
    shift
    local settings=()
    while [[ $# -gt 0 && $1 != -- ]]; do
        settings+=("$1")
        shift
    done
    [[ $# -gt 0 ]] && shift
    mkdir -p "$store"
    port=$(free_port)
    admin=$(free_port)
    url=ws://127.0.0.1:$port/api/v1/events
    # Every word up to the program replaces itself by the next: the process id stays the same.
    env SERVER_WEBSOCKET_PORT="$port" SERVER_GRPC_PORT=0 RINGTAIL_ADMIN_PORT="$admin" RINGTAIL_LOG_VOLUMES="$store" \
        "${settings[@]}" "$@" "$RINGTAIL" serve >>"$scratch/server.log" 2>&1 &
    server=$!
    wait_until_ready
}

wait_until_ready() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        kill -0 "$server" 2>/dev/null || break
        curl --fail --silent --output /dev/null "http://127.0.0.1:$admin/readyz" && return
        sleep 0.1
    done
    tail -20 "$scratch/server.log" >&2
    die 'the server did not become ready'
}

# Stops the server as a service manager would (a shell without job control starts its children
# deaf to INT); the second signal is for one that does not obey.
stop_server() {
    [[ -n $server ]] || return 0
    local tries
    kill -TERM "$server" 2>/dev/null || true
    for ((tries = 0; tries < 300; tries++)); do
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    if kill -KILL "$server" 2>/dev/null; then
        echo 'the server did not stop within 30 s and was killed' >&2
    fi
    wait "$server" 2>/dev/null || true
    server=''
}

# drop_store STORE: gives a stopped server's disk space back.
drop_store() {
    rm -rf -- "${scratch:?}/$1"
}

# field NAME FILE: a number out of a result of the driver.
field() {
    sed -n "s/^ *\"$1\": \\([0-9.e+-]*\\),\\{0,1\\}\$/\\1/p" "$2" | head -1
}

# rss_kib PID
rss_kib() {
    awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}

# fill STORE_BYTES: sends that much payload and a half more, so that retention has been at work.
fill() {
    local per_round=$((32 * 50 * 256))
    "$BENCH" load --url "$url" --connections 32 --window 16 --events 50 --bytes 256 --warmup 0 \
        --seconds 3600 --batches $(($1 * 3 / 2 / per_round + 1)) >"$scratch/fill.log" ||
        { cat "$scratch/fill.log" >&2; die 'the store could not be filled'; }
}

# snapshot SERVER DRIVER FILE: processor time so far, in ticks: of each core, of both processes, of
# each thread of the server, and of each thread of the kernel with the core that it last ran on.
snapshot() {
    {
        echo "time 0 $EPOCHREALTIME"
        awk '/^cpu[0-9]/ { print "core", substr($1, 4), $2 + $3, $4, $7 + $8, $5 + $6, $9 }' /proc/stat
        stat_lines process <"/proc/$1/stat"
        stat_lines driver <"/proc/$2/stat"
        # Threads come and go while they are listed.
        { cat "/proc/$1"/task/*/stat 2>/dev/null || true; } | stat_lines thread
        { cat /proc/[0-9]*/stat 2>/dev/null || true; } | stat_lines kernel
    } >"$3"
}

# stat_lines KIND: turns /proc/*/stat into "kind id core ticks name"; of kind kernel only those.
stat_lines() {
    awk -v kind="$1" '{
        match($0, /\(.*\)/)
        name = substr($0, RSTART + 1, RLENGTH - 2)
        gsub(/ /, "_", name)
        id = $1
        split(substr($0, RSTART + RLENGTH + 1), at, " ")
        if (kind == "kernel" && at[2] != 2) next
        print kind, id, at[37], at[12] + at[13], name
    }'
}

# account BEFORE AFTER: what ran between two snapshots, in percent of one core.
account() {
    awk -v hertz="$ticks_per_second" '
        function percent(ticks) { return 100 * ticks / hertz / seconds }
        { key = $1 " " $2 }
        FNR == NR {
            for (column = 3; column <= NF; column++) before[key, column] = $column
            next
        }
        $1 == "time" { seconds = $3 - before[key, 3] }
        $1 == "core" {
            printf "  core %s    user %5.1f %%  kernel %5.1f %%  interrupts %5.1f %%  idle %5.1f %%  stolen %5.1f %%\n",
                $2, percent($3 - before[key, 3]), percent($4 - before[key, 4]),
                percent($5 - before[key, 5]), percent($6 - before[key, 6]), percent($7 - before[key, 7])
            for (column = 3; column <= 5; column++) others += percent($column - before[key, column])
        }
        $1 == "process" { whole = percent($4 - before[key, 4]); others -= whole }
        $1 == "driver" { others -= percent($4 - before[key, 4]) }
        $1 == "thread" {
            used = percent($4 - before[key, 4])
            if (0.1 <= used) threads = threads sprintf("  thread    %5.1f %%  %s (last on core %s)\n", used, $5, $3)
        }
        $1 == "kernel" {
            used = percent($4 - before[key, 4])
            on_core[$3] += used
            others -= used
            if (0.5 <= used) kernel = kernel sprintf("  kernel    %5.1f %%  %s (last on core %s)\n", used, $5, $3)
        }
        END {
            printf "  server    %5.1f %%  the whole process, its io_uring workers included\n%s", whole, threads
            for (core in on_core) printf "  kernel    %5.1f %%  all kernel threads last seen on core %s\n", on_core[core], core
            printf "%s  others    %5.1f %%  all that is neither server, driver nor kernel\n", kernel, others
            if (10 <= others) print "  WARNING   something else was running: these figures say little"
        }' "$1" "$2"
}

# run_and_account NAME WARMUP SECONDS [DRIVER OPTIONS...] [-- WRAPPER...]
# Drives load, accounts for the processors in the measured seconds, prints both.
# Sets: result (the driver's JSON). Ends the script when an answer was an error.
run_and_account() {
    local name=$1 warmup=$2 seconds=$3 options=()
    shift 3
    while [[ $# -gt 0 && $1 != -- ]]; do
        options+=("$1")
        shift
    done
    [[ $# -gt 0 ]] && shift
    result=$scratch/$name.json
    "$@" "$BENCH" load --url "$url" --warmup "$warmup" --seconds "$seconds" "${options[@]}" \
        --json "$result" >"$scratch/$name.log" &
    load=$!
    # The account lies inside the measured seconds, however long the driver takes to connect.
    sleep "$(awk "BEGIN { print $warmup + $seconds * 0.2 }")"
    snapshot "$server" "$load" "$scratch/$name.before"
    sleep "$(awk "BEGIN { print $seconds * 0.6 }")"
    snapshot "$server" "$load" "$scratch/$name.after"
    local code=0
    wait "$load" || code=$?
    load=''
    grep -v 'errors$' "$scratch/$name.log" || true
    account "$scratch/$name.before" "$scratch/$name.after"
    echo
    [[ $code == 0 ]] || { tail -20 "$scratch/server.log" >&2; die "the driver ended with $code"; }
}
