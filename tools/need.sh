#!/bin/sh
# need.sh PACKAGE…: makes sure that Debian packages are installed; quiet when they all are.
#
# As root it installs what is missing. For anyone else it names the packages and fails, so that the
# caller stops with a line to act on. A word `cargo` stands for a Rust toolchain, which is not
# installed here: how to get one is the machine owner's choice.
set -eu

# The lowest compiler that the workspace's rust-version admits; Debian 12's own (1.63) is older.
rust_minimum=1.95

need_rust() {
    # rustup's default place is not on PATH in a non-login shell.
    if ! command -v cargo >/dev/null 2>&1 && ! [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        cat >&2 <<END
need.sh: cargo is missing. Fielato is built with Rust $rust_minimum or newer, which Debian 12 does not carry. Install it with rustup:
    apt-get install --no-install-recommends ca-certificates curl
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt
    . "\$HOME/.cargo/env"
END
        exit 1
    fi
}

missing=
for package; do
    case $package in
    cargo) need_rust ;;
    *)
        # `install ok installed` and nothing less: a package that was removed but not purged is still known to dpkg.
        state=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) || state=
        [ "$state" = "install ok installed" ] || missing="$missing $package"
        ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "need.sh: this is not a Debian system; install what these Debian packages hold:$missing" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "need.sh: these packages are missing; install them as root with:" >&2
    echo "    apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

echo "need.sh: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# $missing is a list of words on purpose.
# shellcheck disable=SC2086
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    echo "need.sh: apt-get could not install$missing; its last lines are above" >&2
    exit 1
fi
