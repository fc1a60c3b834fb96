# One Apache Kafka on core 1 for the profile of who publishes: sourced after stage.sh, not run by itself.
#
# Wants Java and Maven, as tests/run.sh does. Scenarios start brokers of their own.

broker=''
port_of_broker=''

end_broker() {
    if [[ -n $broker ]] && kill -KILL "$broker" 2>/dev/null; then
        wait "$broker" 2>/dev/null || true
    fi
    stage_close
}

wait_for_broker() {
    local tries
    for ((tries = 0; tries < 1200; tries++)); do
        grep -q 'Kafka Server started' "$scratch/broker.log" && return
        kill -0 "$broker" 2>/dev/null || break
        sleep 0.1
    done
    tail -5 "$scratch/broker.log" >&2
    die 'the broker did not start'
}

# The machine gets memory and its best compiler: here it must not be the limit.
start_broker() {
    port_of_broker=$(free_port)
    "$root/tests/kafka/broker.sh" fetch
    mkdir -p "$scratch/broker"
    "$root/tests/kafka/broker.sh" plan "$scratch/broker" "$port_of_broker"
    cat >>"$scratch/broker/server.properties" <<PROPERTIES
num.partitions=4
log.segment.bytes=134217728
log.retention.bytes=268435456
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=0
PROPERTIES
    BROKER_JVM='-Xms1g -Xmx1g -XX:+UseParallelGC' taskset -c 1 \
        "$root/tests/kafka/broker.sh" run "$scratch/broker" >"$scratch/broker.log" 2>&1 &
    broker=$!
    wait_for_broker
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
