#!/usr/bin/env bash
# A real Apache Kafka for the tests: one KRaft node on loopback, from Maven Central jars. No container, no root.
#
#   tests/services/kafka.sh start DIR PORT    starts it (does nothing if it runs), returns when it serves
#   tests/services/kafka.sh stop  DIR PORT    stops it (does nothing if it does not run) and waits until it is gone
#   tests/services/kafka.sh crash DIR PORT    kills it without a word (kill -9) and starts it again on its data
#
# DIR   its folder DIR/kafka-PORT has data, log (server.log) and pid (kafka.pid); throw-away: each start begins with no
#       topics.
# PORT  of the broker; the controller listens on RUNNEL_KAFKA_CONTROLLER_PORT (PORT + 1), and the broker once more,
#       with SASL PLAIN (user runnel, password runnel-secret), on RUNNEL_KAFKA_SASL_PORT (PORT + 2), and with TLS and
#       SCRAM-SHA-512 (the same user) on RUNNEL_KAFKA_TLS_PORT (PORT + 3; DIR/kafka-PORT/ca.pem is its authority).
#
# Environment:
#   RUNNEL_SERVICES_CACHE   where downloaded jars are kept ($HOME/.cache/runnel-services)
#   RUNNEL_KAFKA_VERSION    Kafka's version (3.9.1)
#   RUNNEL_KAFKA_HEAP       largest heap (512m)
#
# Needs java 17 or later, and mvn for the first start (some 60 MB are fetched).
set -euo pipefail

VERSION=${RUNNEL_KAFKA_VERSION:-3.9.1}
CACHE=${RUNNEL_SERVICES_CACHE:-$HOME/.cache/runnel-services}
HEAP=${RUNNEL_KAFKA_HEAP:-512m}
READY_SECONDS=90
STOP_SECONDS=20

say() { echo "kafka: $*"; }
fail() { echo "kafka: $*" >&2; exit 1; }

usage() { fail "usage: $0 start DIR PORT | stop DIR PORT | crash DIR PORT"; }

# The pid of the broker of this folder, if it lives. A pid that was given to another program since is not ours.
running() {
    local pid
    pid=$(cat "$DIR/kafka.pid" 2>/dev/null) || return 1
    [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$DIR/server.properties" || return 1
    echo "$pid"
}

# Fetches the jars once. Another start may be doing the same: the folder appears in one step.
libraries() {
    LIBS="$CACHE/kafka-$VERSION"
    [ -d "$LIBS" ] && return
    command -v mvn >/dev/null || fail "mvn is missing, which fetches Kafka's jars: apt-get install maven"
    mkdir -p "$CACHE"
    local work="$DIR/fetch"
    rm -rf "$work" && mkdir -p "$work"
    cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>runnel</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version><scope>runtime</scope></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version><scope>runtime</scope></dependency>
  </dependencies>
</project>
POM
    say "fetching Apache Kafka $VERSION from Maven Central (once, into $LIBS)"
    local try
    for try in 1 2 3; do
        if mvn -B -q -f "$work/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$work/libs" >"$work/mvn.log" 2>&1; then
            break
        fi
        [ "$try" = 3 ] && { tail -20 "$work/mvn.log" >&2; fail "Kafka's jars could not be fetched (log: $work/mvn.log)"; }
        say "fetching failed, trying again"
        sleep 5
    done
    mv -T "$work/libs" "$LIBS" 2>/dev/null || [ -d "$LIBS" ] || fail "cannot write $LIBS"
    rm -rf "$work"
}

# An authority, and the broker's certificate by it.
certificates() {
    command -v openssl >/dev/null || fail "openssl is missing: apt-get install openssl"
    (
        cd "$DIR"
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=Runnel tests" -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj "/CN=127.0.0.1" -keyout server.key -out server.csr
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n' >server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.crt
        cat server.key server.crt >server.pem
    ) >"$DIR/certificates.log" 2>&1 || { tail -5 "$DIR/certificates.log" >&2; fail "no certificates (log: $DIR/certificates.log)"; }
}

# How Java is called.
jvm() {
    java=(java "-Xms128m" "-Xmx$HEAP" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto
        "-Dlog4j.configuration=file:$DIR/log4j.properties" -cp "$LIBS/*")
}

start() {
    local pid
    if pid=$(running); then
        say "runs already on 127.0.0.1:$PORT (pid $pid)"
        return
    fi
    command -v java >/dev/null || fail "java is missing: apt-get install openjdk-17-jre-headless"
    local controller=${RUNNEL_KAFKA_CONTROLLER_PORT:-$((PORT + 1))}
    local sasl=${RUNNEL_KAFKA_SASL_PORT:-$((PORT + 2))}
    local tls=${RUNNEL_KAFKA_TLS_PORT:-$((PORT + 3))}
    local port
    for port in "$PORT" "$controller" "$sasl" "$tls"; do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && fail "port $port is taken: choose another"
    done
    mkdir -p "$DIR"
    libraries
    rm -rf "$DIR/data"
    certificates
    cat >"$DIR/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$PORT,SASL://127.0.0.1:$sasl,TLS://127.0.0.1:$tls,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$PORT,SASL://127.0.0.1:$sasl,TLS://127.0.0.1:$tls
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.sasl.sasl.enabled.mechanisms=PLAIN
listener.name.tls.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.tls.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location=$DIR/server.pem
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="runnel" password="runnel-secret" user_runnel="runnel-secret";
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
controller.quorum.voters=1@127.0.0.1:$controller
log.dirs=$DIR/data
num.partitions=1
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=1000
log.cleaner.dedupe.buffer.size=4194304
log.segment.bytes=268435456
message.max.bytes=10485760
socket.request.max.bytes=209715200
PROPERTIES
    cat >"$DIR/log4j.properties" <<PROPERTIES
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m (%c{1})%n
PROPERTIES
    jvm
    "${java[@]}" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg -c "$DIR/server.properties" \
        --add-scram 'SCRAM-SHA-512=[name=runnel,password=runnel-secret]' \
        >"$DIR/format.log" 2>&1 || { tail -5 "$DIR/format.log" >&2; fail "formatting $DIR/data failed (log: $DIR/format.log)"; }
    launch
}

# Starts the broker on the data that is there.
launch() {
    local pid
    : >"$DIR/server.log"
    setsid nohup "${java[@]}" kafka.Kafka "$DIR/server.properties" </dev/null >"$DIR/server.log" 2>&1 &
    pid=$!
    disown "$pid"
    echo "$pid" >"$DIR/kafka.pid"
    local waited=0
    until grep -q "Kafka Server started" "$DIR/server.log"; do
        kill -0 "$pid" 2>/dev/null || { tail -15 "$DIR/server.log" >&2; fail "it ended while starting (log: $DIR/server.log)"; }
        waited=$((waited + 1))
        [ "$waited" -le $((READY_SECONDS * 5)) ] || { stop >/dev/null; fail "not ready after $READY_SECONDS s (log: $DIR/server.log)"; }
        sleep 0.2
    done
    say "ready on 127.0.0.1:$PORT (pid $pid, log $DIR/server.log)"
}

# Kills the broker without a word and starts it again on its data.
crash() {
    local pid
    pid=$(running) || fail "does not run"
    kill -9 "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    libraries
    jvm
    launch
}

stop() {
    local pid
    if ! pid=$(running); then
        rm -f "$DIR/kafka.pid"
        say "does not run"
        return
    fi
    kill "$pid" 2>/dev/null || true
    local waited=0
    while running >/dev/null; do
        waited=$((waited + 1))
        [ "$waited" -le $((STOP_SECONDS * 5)) ] || { kill -9 "$pid" 2>/dev/null || true; }
        sleep 0.2
    done
    rm -rf "$DIR/kafka.pid" "$DIR/data"
    say "stopped"
}

[ $# -eq 3 ] || usage
PORT=$3
DIR=$(mkdir -p "$2/kafka-$PORT" && cd "$2/kafka-$PORT" && pwd)
case "$1" in
start) start ;;
stop) stop ;;
crash) crash ;;
*) usage ;;
esac
