#!/usr/bin/env bash
# kinesis.sh start|stop DIR PORT: a local Kinesis (npm kinesis-local) on 127.0.0.1:PORT, plain HTTP.
# Log, pid and nothing else under DIR/kinesis-PORT; streams live in memory and are gone after `stop`.
# Its TLS twin takes PORT + 1000 (RUNNEL_KINESIS_TLS_PORT).
set -euo pipefail
name=kinesis version=0.6.2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -eq 3 ] || { echo "usage: $0 start|stop DIR PORT" >&2; exit 2; }
action=$1 port=$3
mkdir -p "$2"
home=$(cd "$2" && pwd)/kinesis-$port
mark=kinesis-local/main.js
. "$here/service.sh"
package=$cache/kinesis-local-$version/node_modules/kinesis-local

install() {
    [ -f "$package/.installed" ] && return
    command -v node >/dev/null && command -v npm >/dev/null ||
        die "node and npm are needed for the local Kinesis: apt-get install -y nodejs npm"
    lock_cache
    if [ ! -f "$package/.installed" ]; then
        mkdir -p "$cache/kinesis-local-$version"
        npm install --no-audit --no-fund --loglevel=error --prefix "$cache/kinesis-local-$version" \
            "kinesis-local@$version" >"$cache/kinesis-local-$version/install.log" 2>&1 ||
            { tail -n 20 "$cache/kinesis-local-$version/install.log" >&2
              die "npm could not install kinesis-local $version; is the npm registry reachable?"; }
        touch "$package/.installed"
    fi
    unlock_cache
}

case $action in
start)
    mkdir -p "$home"
    if running && http_ok "$port" /healthcheck; then
        echo "kinesis: already on http://127.0.0.1:$port"
        exit 0
    fi
    install
    halt
    port_taken "$port" && die "port $port is taken by something else; choose another port"
    export KINESIS_MOCK_PLAIN_PORT=$port KINESIS_MOCK_TLS_PORT=${RUNNEL_KINESIS_TLS_PORT:-$((port + 1000))}
    export KINESIS_MOCK_CERT_PATH=$package/server.json SHOULD_PERSIST_DATA=false LOG_LEVEL=${LOG_LEVEL:-ERROR}
    # Waits of the real service that only make tests slow.
    export CREATE_STREAM_DURATION=100ms DELETE_STREAM_DURATION=100ms SPLIT_SHARD_DURATION=100ms \
        MERGE_SHARDS_DURATION=100ms UPDATE_SHARD_COUNT_DURATION=100ms REGISTER_STREAM_CONSUMER_DURATION=100ms \
        DEREGISTER_STREAM_CONSUMER_DURATION=100ms
    export SHARD_LIMIT=${SHARD_LIMIT:-500} NODE_NO_WARNINGS=1
    launch node --require "$here/loopback.cjs" "$package/main.js"
    wait_ready 30 "$port" /healthcheck
    echo "kinesis: http://127.0.0.1:$port"
    ;;
stop)
    halt
    ;;
*) usage ;;
esac
