#!/usr/bin/env bash
# packages.sh [COMMAND:]PACKAGE …: installs the Debian/Ubuntu packages that are missing. A word with a colon is
# there when the command is on the PATH. Without root it says what to install, and stops.
set -euo pipefail

missing=()
for word in "$@"; do
    command=${word%%:*} package=${word##*:}
    if [ "$word" != "$package" ]; then
        command -v "$command" >/dev/null 2>&1 && continue
    elif command -v "$package" >/dev/null 2>&1 || dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
        continue
    fi
    missing+=("$package")
done

if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing: install it with rustup (https://rustup.rs), then run this again." >&2
    exit 1
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "These are missing, and this is no Debian or Ubuntu: ${missing[*]}. Install what your system calls them, then run this again." >&2
    exit 1
fi
sudo=
if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
        sudo="sudo -n"
    else
        echo "These packages are missing and installing them needs root:" >&2
        echo "    sudo apt-get install -y ${missing[*]}" >&2
        echo "Run that, then this again." >&2
        exit 1
    fi
fi
echo "Installing ${missing[*]} …"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
