#!/bin/sh
# conformance.sh: runs iptables' own tests against our program, and against iptables-legacy in the same run.
#
# They are other people's: fetched from Debian's source package into the build folder, never committed.
# FIELATO_SUITE names an unpacked source tree to be used instead.
set -eu
cd "$(dirname "$0")/.."
cache=${CARGO_TARGET_DIR:-target}/conformance
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

fetch() {
    lists=$cache/apt
    mkdir -p "$lists/partial"
    # The machine's own mirrors, asked for sources, in a list of our own: the machine's stay as they are.
    apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        grep -w main | sort -u >"$cache/sources.list"
    [ -s "$cache/sources.list" ] ||
        echo "deb-src http://deb.debian.org/debian bookworm main" >"$cache/sources.list"
    set -- -o Dir::Etc::sourcelist="$cache/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$lists" \
        -o APT::Sandbox::User=root -qq
    apt-get "$@" update
    (cd "$cache" && apt-get "$@" source --download-only iptables)
    # Unpacked by hand: dpkg-dev need not be there, and Debian's patches don't touch the tests.
    mkdir "$cache/new"
    tar -xf "$cache"/iptables_*.orig.tar.* -C "$cache/new" --strip-components=1
    mv "$cache/new" "$cache/iptables"
}

if [ -z "${FIELATO_SUITE:-}" ]; then
    rm -rf "$cache/new"
    [ -d "$cache/iptables" ] || fetch
    FIELATO_SUITE=$cache/iptables
fi
export FIELATO_SUITE
exec "${CARGO:-cargo}" test --quiet --locked --package fielato --test conformance
