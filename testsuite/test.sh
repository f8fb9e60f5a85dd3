#!/bin/bash
# test.sh [-v] [--engine kernel|userspace] [SCRIPT…]: runs the scripts, by default all of them in order, each between two taps of its
# own, and closes with
#     N ok, N failed, N skipped
# A script ends with 0 when it is ok and with 77, having said why, when it can't run here; anything else is a failure, and what it
# said is shown. With -v all of it is shown, and every command.
#
# The scripts find in their environment: TAP0 TAP1 (names of the interfaces), TAP0NET TAP1NET TAP0NET6 TAP1NET6 (the addresses on them
# without the host part; the machine is 1), TAPS (the folder of the taps), TMPFILE, VERBOSE, ENGINE; and on PATH the tools and the
# iptables of the engine.
#
# TESTSUITE_TOOLS names the built program of the tools, FIELATO that of fielato; without them, cargo builds them.
set -u
cd "$(dirname "$0")" || exit 2

VERBOSE=
ENGINE=kernel
# Seconds a script may take.
LIMIT=${TESTSUITE_LIMIT:-60}
while [ $# != 0 ]; do
    case $1 in
        -v) VERBOSE=1 ;;
        --engine) ENGINE=${2-}; shift ;;
        --engine=*) ENGINE=${1#*=} ;;
        -*) echo "test.sh: $1 is not understood: test.sh [-v] [--engine kernel|userspace] [SCRIPT…]" >&2; exit 2 ;;
        *) break ;;
    esac
    shift
done
case $ENGINE in
    kernel | userspace) ;;
    *) echo "test.sh: '$ENGINE' is no engine: give kernel or userspace" >&2; exit 2 ;;
esac
if [ "$(id -u)" != 0 ]; then
    echo "test.sh: run this as root: it makes network namespaces" >&2
    exit 2
fi
[ $# != 0 ] || set -- [0-9]*/[0-9]*.sh

built() { # built PACKAGE PROGRAM: where cargo puts the program, built now
    local target
    cargo build --quiet --locked --package "$1" >&2 || return
    target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    echo "$target/debug/$2"
}
tools=${TESTSUITE_TOOLS:-$(built fielato-testsuite-tools testsuite-tools)} || exit 2

work=$(mktemp -d) || exit 2
running=
# Whatever runs in the namespaces ends with the one that made them (--kill-child, and it is the first process in there).
trap '[ -z "$running" ] || kill -KILL "$running" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkdir "$work/bin"
for name in gen_ip rcv_ip gen_err local_ip fence tapd; do
    ln -s "$tools" "$work/bin/$name"
done
commands="iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore"
if [ "$ENGINE" = kernel ]; then
    legacy=$(command -v xtables-legacy-multi) || { echo "test.sh: needs iptables (xtables-legacy-multi)" >&2; exit 2; }
    for name in $commands; do
        ln -s "$legacy" "$work/bin/$name"
    done
else
    fielato=${FIELATO:-$(built fielato fielato)} || exit 2
    for name in $commands ipchains ipfwadm; do
        ln -s "$fielato" "$work/bin/$name"
    done
fi

export VERBOSE ENGINE PATH="$work/bin:$PATH" LIB="$PWD/lib.sh"
# The lock is the machine's, the tables are not: no waiting for others.
export XTABLES_LOCKFILE="$work/xtables.lock"
ok=0 failed=0 skipped=0

run() { # run SCRIPT: its status, with what it says in $work/output
    local folder=$work/run options=-e
    rm -rf "$folder"
    mkdir "$folder"
    [ -z "$VERBOSE" ] || options=-ex
    export TMPFILE="$folder/tmpfile"
    unshare --net --pid --mount --fork --mount-proc --kill-child \
        tapd "$ENGINE" "$folder" "$LIMIT" bash "$options" "$1" >"$work/output" 2>&1 </dev/null &
    running=$!
    wait "$running"
    local status=$?
    running=
    return $status
}

for script; do
    run "$script"
    status=$?
    case $status in
        0) ok=$((ok + 1)); echo "ok   $script" ;;
        77) skipped=$((skipped + 1)); echo "skip $script: $(tail -n 1 "$work/output")" ;;
        *) failed=$((failed + 1)); echo "FAIL $script (status $status)" ;;
    esac
    if [ -n "$VERBOSE" ] || { [ $status != 0 ] && [ $status != 77 ]; }; then
        sed 's/^/    /' "$work/output"
    fi
done
echo
echo "$ok ok, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
