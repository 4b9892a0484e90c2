#!/usr/bin/env bash
# moto.sh start|stop DIR PORT: stand-ins for AWS Glue, STS and S3 (PyPI moto) on 127.0.0.1:PORT.
# Log, pid and nothing else under DIR/moto-PORT; what it holds lives in memory and is gone after `stop`.
set -euo pipefail
name=moto version=5.2.5
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -eq 3 ] || { echo "usage: $0 start|stop DIR PORT" >&2; exit 2; }
action=$1 port=$3
mkdir -p "$2"
home=$(cd "$2" && pwd)/moto-$port
mark=moto.server
. "$here/service.sh"
place=$cache/moto-$version

# A virtual environment where Python can make one (Debian needs python3-venv for that), else a plain folder.
install() {
    [ -f "$place/.installed" ] && return
    command -v python3 >/dev/null || die "python3 is needed for the stand-in of AWS: apt-get install -y python3 python3-pip python3-venv"
    lock_cache
    if [ ! -f "$place/.installed" ]; then
        local log=$cache/moto-$version.log quiet="--quiet --disable-pip-version-check --no-input"
        rm -rf "$place"
        # shellcheck disable=SC2086
        if python3 -m venv "$place" >"$log" 2>&1; then
            "$place/bin/python" -m pip install $quiet "moto[server]==$version" >>"$log" 2>&1 || failed "$log"
        else
            rm -rf "$place"
            python3 -m pip --version >/dev/null 2>&1 ||
                die "neither venv nor pip works with $(command -v python3): apt-get install -y python3-venv python3-pip"
            python3 -m pip install $quiet --target "$place/site" "moto[server]==$version" >>"$log" 2>&1 || failed "$log"
        fi
        touch "$place/.installed"
    fi
    unlock_cache
}

failed() {
    tail -n 20 "$1" >&2
    rm -rf "$place"
    die "pip could not install moto[server] $version; is the Python package index reachable?"
}

case $action in
start)
    mkdir -p "$home"
    if running && http_ok "$port" /moto-api/data.json; then
        echo "moto: already on http://127.0.0.1:$port"
        exit 0
    fi
    install
    halt
    port_taken "$port" && die "port $port is taken by something else; choose another port"
    python=$place/bin/python
    [ -x "$python" ] || { python=python3; export PYTHONPATH=$place/site; }
    launch "$python" -c 'import sys; from moto.server import main; sys.exit(main())' -H 127.0.0.1 -p "$port"
    wait_ready 60 "$port" /moto-api/data.json
    echo "moto: http://127.0.0.1:$port"
    ;;
stop)
    halt
    ;;
*) usage ;;
esac
