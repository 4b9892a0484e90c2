# What the service scripts share: start a process in the background with a pid file, wait for it, stop it.
# Sourced, not run. A script sets `name` and `home` (the folder of its data, log and pid) before it calls these.

cache=${RUNNEL_SERVICES_CACHE:-$HOME/.cache/runnel-services}

die() { echo "$name: $*" >&2; exit 1; }

usage() { echo "usage: $0 start|stop DIR PORT" >&2; exit 2; }

# Whether the process of the pid file runs, and is ours: pids are used again after a reboot.
running() {
    local pid
    pid=$(cat "$home/pid" 2>/dev/null) || return 1
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return 1
    if [ -r "/proc/$pid/cmdline" ]; then tr '\0' ' ' <"/proc/$pid/cmdline"; else ps -o args= -p "$pid"; fi |
        grep -qF -- "$mark"
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# http_ok PORT PATH: whether a GET answers 200. Without curl, which a small machine may lack.
http_ok() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
        printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&3
        IFS= read -r -t 5 line <&3 && [[ $line == HTTP/*' 200'* ]]
    ) 2>/dev/null
}

# Where there is no setsid (macOS), nohup alone must do.
session=$(command -v setsid || true)

# launch COMMAND…: starts it in a session of its own, with its output in the log.
launch() {
    ${session:-} nohup "$@" >"$home/log" 2>&1 </dev/null &
    echo $! >"$home/pid"
}

# wait_ready SECONDS PORT PATH
wait_ready() {
    local deadline=$((SECONDS + $1))
    until http_ok "$2" "$3"; do
        # Not `running`: the process may not have become the command yet.
        kill -0 "$(cat "$home/pid")" 2>/dev/null || { tail -n 20 "$home/log" >&2; die "it died while starting; its log is $home/log"; }
        [ "$SECONDS" -lt "$deadline" ] || { halt; die "not ready within $1 s; its log is $home/log"; }
        sleep 0.1
    done
}

# Ends the process of the pid file, gently, then not.
halt() {
    local pid
    if running; then
        pid=$(cat "$home/pid")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
    fi
    rm -f "$home/pid"
}

# Only one installs at a time; the others wait and find it done.
lock_cache() {
    mkdir -p "$cache"
    if command -v flock >/dev/null; then
        exec 9>"$cache/.lock"
        flock -w 300 9 || die "another install holds $cache/.lock for five minutes; is it stuck?"
    fi
}

unlock_cache() { exec 9>&- || true; }
