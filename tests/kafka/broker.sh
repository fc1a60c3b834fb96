#!/usr/bin/env bash
# Apache Kafka, the real one, without an installation: fetched by Maven, run in KRaft mode.
#
#   tests/kafka/broker.sh fetch         the jars into target/kafka, once; says which Kafka it is
#   tests/kafka/broker.sh run FOLDER    the broker of FOLDER/server.properties, in place of this shell
#   tests/kafka/broker.sh plan FOLDER PORT   writes FOLDER/server.properties for one broker on a port of 127.0.0.1
#   tests/kafka/broker.sh try [PORT]    one broker on a port of 127.0.0.1 (9092), until Ctrl-C; keeps nothing
#
# BROKER_JVM replaces the options of Java's machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Absolute: Maven takes a relative folder to be below its pom.xml.
target=$(realpath -m "${CARGO_TARGET_DIR:-$here/../../target}")
jars=$target/kafka
# 16 bytes of base64, as KRaft wants a cluster's name to be.
cluster=cmluZ3RhaWwtdGVzdHMtMQ

fail() {
    printf 'broker.sh: %s\n' "$*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null 2>&1 ||
        fail "$1 is missing: run tests/run.sh, which installs it, or install $2"
}

fetch() {
    need java "a Java runtime of version 17 or newer (Debian: default-jre-headless)"
    mkdir -p "$jars"
    # Tests that start together fetch once.
    exec 9>"$jars/lock"
    flock 9
    if ! [[ -d $jars/libs ]] || ! cmp -s "$here/pom.xml" "$jars/pom.xml"; then
        need mvn "Maven (Debian: maven)"
        rm -rf "$jars/libs"
        local plugin=org.apache.maven.plugins:maven-dependency-plugin:3.8.1
        mvn -B -q -f "$here/pom.xml" "$plugin:copy-dependencies" \
            -DincludeScope=runtime -DoutputDirectory="$jars/libs" </dev/null >"$jars/mvn.log" 2>&1 ||
            fail "Maven could not fetch Apache Kafka; it said: $(tail -n 5 "$jars/mvn.log")"
        cp "$here/pom.xml" "$jars/pom.xml"
    fi
    exec 9>&-
    local jar
    jar=$(cd "$jars/libs" && ls kafka_2.13-*.jar) || fail "$jars/libs holds no broker: remove $jars and try again"
    printf 'Apache Kafka %s\n' "$(basename "${jar#kafka_2.13-}" .jar)"
}

# Small and quick to start: these brokers live for a minute.
read -ra jvm <<<"${BROKER_JVM:--Xms96m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}"
jvm+=(-Dorg.slf4j.simpleLogger.defaultLogLevel=info -Dorg.slf4j.simpleLogger.logFile=System.out)

run() {
    local folder=$1
    [[ -f $folder/server.properties ]] || fail "$folder has no server.properties"
    if [[ ! -f $folder/formatted ]]; then
        java "${jvm[@]}" -cp "$jars/libs/*" kafka.tools.StorageTool format \
            --cluster-id "$cluster" --config "$folder/server.properties" >"$folder/format.log" 2>&1 ||
            fail "the storage could not be formatted: $(tail -n 5 "$folder/format.log")"
        touch "$folder/formatted"
    fi
    # Its number is this shell's: who kills or stops the one has the other.
    exec java "${jvm[@]}" -cp "$jars/libs/*" kafka.Kafka "$folder/server.properties"
}

plan() {
    local folder=$1 port=$2
    cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$folder/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
PROPERTIES
}

try() {
    local port=${1:-9092} folder
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    plan "$folder" "$port"
    printf 'a broker on 127.0.0.1:%s; Ctrl-C ends it\n' "$port"
    (run "$folder") >"$folder/said" 2>&1 || fail "the broker ended: $(tail -n 5 "$folder/said")"
}

case ${1:-} in
fetch) fetch ;;
run) run "${2:?run wants a folder}" ;;
plan) plan "${2:?plan wants a folder}" "${3:?plan wants a port}" ;;
try)
    fetch
    try "${2:-}"
    ;;
*) fail "wanted fetch, run FOLDER, plan FOLDER PORT, or try [PORT]" ;;
esac
