#!/bin/sh
# wireguard-peers.sh [NAME…]: the other user-space WireGuard programs that ours is measured and tried against.
# Prints "NAME PATH" for each, and fetches or builds what lacks into target/peers; the machine's package sources stay as they are.
#
#   wireguard-go         Debian's newest, from a suite newer than this machine's, unpacked and not installed
#   wireguard-go-debian  the one of this machine's own suite
#   boringtun            boringtun-cli from crates.io
#   gotatun              gotatun-cli from crates.io
#
# Names that are asked for must be had. Asked for none, it prints those that could be had and names the others on
# standard error.
set -eu
cd "$(dirname "$0")/.."
peers=${CARGO_TARGET_DIR:-target}/peers
mkdir -p "$peers"
peers=$(cd "$peers" && pwd)
# rustup's place is not on PATH in a non-login shell.
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

suite=forky
boringtun=0.7.1
gotatun=0.10.2

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# quietly COMMAND…: what it says is shown only when it fails.
quietly() {
    "$@" >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        return 1
    }
}

# A list of package sources of its own: nothing is added to the machine's.
fetch_wireguard_go() {
    folder=$peers/wireguard-go
    mkdir -p "$folder/lists/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main" \
        >"$folder/sources.list"
    set -- -q -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$folder/lists" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Acquire::Languages=none -o APT::Sandbox::User=
    rm -f "$folder"/*.deb
    quietly apt-get "$@" update &&
        (cd "$folder" && quietly apt-get "$@" download "wireguard-go/$suite") &&
        quietly dpkg -x "$folder"/wireguard-go_*.deb "$folder" &&
        rm -rf "$folder/lists"
}

# cargo_install PACKAGE VERSION
cargo_install() {
    quietly cargo install --locked --root "$peers" --version "=$2" "$1"
}

# peer NAME: prints its path, after getting it if it lacks.
peer() {
    case $1 in
    wireguard-go)
        program=$peers/wireguard-go/usr/bin/wireguard-go
        get=fetch_wireguard_go
        ;;
    wireguard-go-debian)
        program=/usr/bin/wireguard-go
        get="quietly tools/need.sh wireguard-go"
        ;;
    boringtun)
        program=$peers/bin/boringtun-cli
        get="cargo_install boringtun-cli $boringtun"
        ;;
    gotatun)
        program=$peers/bin/gotatun
        get="cargo_install gotatun-cli $gotatun"
        ;;
    *)
        echo "wireguard-peers.sh: no peer is called $1; see the head of this file" >&2
        return 1
        ;;
    esac
    if ! [ -x "$program" ]; then
        echo "wireguard-peers.sh: getting $1" >&2
        # $get is a command and its arguments on purpose.
        $get || {
            echo "wireguard-peers.sh: $1 could not be had; the reason is above" >&2
            return 1
        }
    fi
    echo "$1 $program"
}

if [ $# -gt 0 ]; then
    for name; do
        peer "$name" || exit 1
    done
else
    for name in wireguard-go wireguard-go-debian boringtun gotatun; do
        peer "$name" || true
    done
fi
