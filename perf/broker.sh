# One Apache Kafka on core 1 for scenarios that publish: sourced after stage.sh, not run by itself.
#
# Wants Java and Maven, as tests/run.sh does.

# The scenario kafka.toml knows it too.
port_of_broker=19092
broker=''

end_broker() {
    end_process "$broker"
    stage_close
}

# end_process PID: for a process of ours that keeps nothing; also one that was paused, which no other signal ends.
end_process() {
    [[ -n $1 ]] && kill -KILL "$1" 2>/dev/null || return 0
    wait "$1" 2>/dev/null || true
}

# plan_broker FOLDER PORT
plan_broker() {
    mkdir -p "$1"
    "$root/tests/kafka/broker.sh" plan "$1" "$2"
    cat >>"$1/server.properties" <<PROPERTIES
num.partitions=4
log.segment.bytes=134217728
log.retention.bytes=268435456
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=0
PROPERTIES
}

# run_broker FOLDER: the process; it serves a little later. The machine gets memory and its best compiler: here it must
# not be the limit.
run_broker() {
    BROKER_JVM='-Xms1g -Xmx1g -XX:+UseParallelGC' taskset -c 1 nice -n "${BROKER_NICE:-0}" \
        "$root/tests/kafka/broker.sh" run "$1" >"$1.log" 2>&1 &
}

# wait_for_broker FOLDER PID
wait_for_broker() {
    local tries
    for ((tries = 0; tries < 1200; tries++)); do
        grep -q 'Kafka Server started' "$1.log" && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    tail -5 "$1.log" >&2
    die 'the broker did not start'
}

start_broker() {
    (exec 3<>"/dev/tcp/127.0.0.1/$port_of_broker") 2>/dev/null && die "port $port_of_broker is taken"
    "$root/tests/kafka/broker.sh" fetch
    plan_broker "$scratch/broker" "$port_of_broker"
    run_broker "$scratch/broker"
    broker=$!
    wait_for_broker "$scratch/broker" "$broker"
}

# number NAME: a metric of the server, summed over its labels.
number() {
    curl --fail --silent "http://127.0.0.1:$admin/metrics" |
        awk -v name="$1" '{ split($1, at, "{") } at[1] == name { sum += $NF } END { printf "%.0f", sum }'
}

# start_publisher STORE TYPE [VAR=VALUE...] [-- WRAPPER...]: the server on core 0, with its control core and
# librdkafka's threads.
start_publisher() {
    local store=$1 type=$2
    shift 2
    start_server "$store" EVENT_ACK=1 RINGTAIL_SHARDS=0-0 RINGTAIL_CONTROL_CPU=0 RINGTAIL_KAFKA_CPUS=0 \
        PUBLISHER_TYPE="$type" PUBLISHER_KAFKA_CLIENT_BOOTSTRAP_SERVERS="127.0.0.1:$port_of_broker" \
        RINGTAIL_LOG_RETENTION_BYTES=17179869184 "$@"
}
