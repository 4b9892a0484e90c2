#!/usr/bin/env bash
# Runs a command with RUNNEL_KAFKA set: to what it is already, or to a broker that is started for it and stopped after.
#
#   tools/with-kafka.sh DIR PORT COMMAND…     DIR and PORT as in tests/services/kafka.sh
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
dir=$1 port=$2
shift 2
if [ -z "${RUNNEL_KAFKA:-}" ]; then
    if [ -s "$dir/kafka-$port/kafka.pid" ] && kill -0 "$(cat "$dir/kafka-$port/kafka.pid")" 2>/dev/null; then
        started=
    else
        "$here/tools/packages.sh" java:openjdk-17-jre-headless mvn:maven openssl
        "$here/tests/services/kafka.sh" start "$dir" "$port" >&2
        started=yes
    fi
    export RUNNEL_KAFKA=127.0.0.1:$port
    trap '[ -z "$started" ] || "$here/tests/services/kafka.sh" stop "$dir" "$port" >&2' EXIT
fi
"$@"
