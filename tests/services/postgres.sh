#!/usr/bin/env bash
# postgres.sh start|stop|crash DIR PORT: a real PostgreSQL for the tests on 127.0.0.1:PORT, from Debian's package.
# User `runnel` with the password `runnel-secret` (SCRAM-SHA-256), database `runnel`. TLS is on, with a certificate for
# 127.0.0.1 by the authority DIR/postgres-PORT/tls/ca.pem. Data, log and pid are under DIR/postgres-PORT and
# begin empty with each start; `crash` kills it without a word and starts it again on its data.
#
# PostgreSQL refuses to run as root: root starts it as the user `postgres`, which Debian's package makes.
set -euo pipefail
name=postgres
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -eq 3 ] || { echo "usage: $0 start|stop|crash DIR PORT" >&2; exit 2; }
action=$1 port=$3
mkdir -p "$2"
home=$(cd "$2" && pwd)/postgres-$port
mark=$home/data
. "$here/service.sh"

# Debian keeps the server's programs off the PATH.
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || bin=$(dirname "$(command -v postgres || die "PostgreSQL is missing: apt-get install postgresql")")

# as COMMAND…: as the user that owns the data.
as=()
[ "$(id -u)" -eq 0 ] && as=(runuser -u postgres --)

# The server's own pid file names the process; `launch` would name runuser.
note_pid() { head -1 "$home/data/postmaster.pid" >"$home/pid" 2>/dev/null || true; }

serve() {
    ${session:-} nohup ${as[@]+"${as[@]}"} "$bin/postgres" -D "$home/data" >>"$home/log" 2>&1 </dev/null &
    local started=$! deadline=$((SECONDS + 60))
    until PGPASSWORD=runnel-secret "$bin/psql" -h 127.0.0.1 -p "$port" -U runnel -d postgres -qAtc 'select 1' >/dev/null 2>&1; do
        kill -0 "$started" 2>/dev/null || { tail -qn 20 "$home/log" "$home/data/log/statements.log" >&2; die "it died while starting"; }
        [ "$SECONDS" -lt "$deadline" ] || die "not ready within 60 s; its log is $home/data/log/statements.log"
        sleep 0.1
    done
    note_pid
}

certificates() {
    command -v openssl >/dev/null || die "openssl is missing: apt-get install openssl"
    mkdir -p "$home/tls"
    (
        cd "$home/tls"
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=Runnel tests" -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj "/CN=127.0.0.1" -keyout server.key -out server.csr
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n' >server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.crt
        cp server.key server.crt ca.pem "$home/data/"
    ) >"$home/certificates.log" 2>&1 || { tail -5 "$home/certificates.log" >&2; die "no certificates"; }
    chmod 600 "$home/data/server.key"
    [ "$(id -u)" -eq 0 ] && chown postgres: "$home/data/"server.* "$home/data/ca.pem"
    return 0
}

# Only the user `postgres` must reach the data, through folders that may be closed to it.
reachable() {
    ${as[@]+"${as[@]}"} test -x "$home" && return
    die "the user postgres cannot enter $home; give a folder that all may enter, as in SERVICES_DIR=/tmp/runnel-services"
}

case $action in
start)
    if running; then
        echo "postgres: already on 127.0.0.1:$port"
        exit 0
    fi
    port_taken "$port" && die "port $port is taken by something else; choose another port"
    rm -rf "$home"
    mkdir -p "$home/data"
    [ "$(id -u)" -eq 0 ] && { reachable; chown postgres: "$home/data"; }
    chmod 700 "$home/data"
    pw=$(mktemp)
    echo runnel-secret >"$pw"
    [ "$(id -u)" -eq 0 ] && chown postgres: "$pw"
    (cd / && ${as[@]+"${as[@]}"} "$bin/initdb" -D "$home/data" -U runnel --pwfile="$pw" --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C --no-sync) >"$home/log" 2>&1 || { tail -n 20 "$home/log" >&2; rm -f "$pw"; die "initdb failed"; }
    rm -f "$pw"
    certificates
    cat >>"$home/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
ssl = on
fsync = off
max_connections = 100
shared_buffers = 32MB
# Tests read what was asked with pg_read_file('log/statements.log').
logging_collector = on
log_directory = 'log'
log_filename = 'statements.log'
log_statement = all
log_rotation_age = 0
log_rotation_size = 0
CONF
    cd /
    serve
    PGPASSWORD=runnel-secret "$bin/psql" -h 127.0.0.1 -p "$port" -U runnel -d postgres -qc 'create database runnel' ||
        die "no database could be made"
    echo "postgres: postgresql://127.0.0.1:$port/runnel"
    ;;
crash)
    running || die "it does not run"
    # The whole group: its backends notice the postmaster's death by themselves.
    kill -9 "$(cat "$home/pid")"
    for _ in $(seq 100); do running || break; sleep 0.05; done
    for _ in $(seq 100); do port_taken "$port" || break; sleep 0.05; done
    rm -f "$home/data/postmaster.pid"
    cd /
    serve
    ;;
stop)
    # Fast shutdown: clients are let go.
    running && kill -INT "$(cat "$home/pid")" 2>/dev/null
    for _ in $(seq 100); do running || break; sleep 0.1; done
    halt
    ;;
*) echo "usage: $0 start|stop|crash DIR PORT" >&2; exit 2 ;;
esac
