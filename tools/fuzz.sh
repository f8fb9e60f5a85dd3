#!/bin/sh
# fuzz.sh SECONDS [TARGET…]: runs each fuzz target for so long, all of them when none is named.
#
# What the fuzzers find worth keeping goes to fuzz/found, which git ignores; the seeds in fuzz/corpus stay as they are. A crash
# ends the run, with the input in fuzz/artifacts; `cargo run -p fielato-properties --example replay TARGET FILE` shows it again.
#
# Overflow checks and debug assertions are on. AddressSanitizer is off: it makes the targets six to eleven times slower, and the crates
# under them forbid unsafe code. SANITIZER=address turns it on.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?usage: fuzz.sh SECONDS [TARGET…]}
shift
[ $# != 0 ] || set -- packet language restore conntrack ftp superpacket wireguard policy fleet

# Both are asked for by name: neither comes with the compiler that builds the rest.
if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    echo "fuzz.sh: the fuzzers need a nightly compiler. Install it with: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz.sh: installing cargo-fuzz" >&2
    cargo install cargo-fuzz --locked
fi

export CARGO_TARGET_DIR="$PWD/fuzz/target"
sanitizer=${SANITIZER:-none}
# The whole process: an input that makes something grow without bound shows in it, whatever makes it grow.
memory=512
[ "$sanitizer" = none ] || memory=2048
for target; do
    mkdir -p "fuzz/found/$target" "fuzz/corpus/$target"
    dictionary=
    [ ! -f "fuzz/$target.dict" ] || dictionary="-dict=fuzz/$target.dict"
    echo "fuzz.sh: $target for $seconds s" >&2
    # $dictionary is one word or none.
    # shellcheck disable=SC2086
    cargo +nightly fuzz run --sanitizer "$sanitizer" "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb="$memory" -timeout=10 -max_len=4096 -print_final_stats=1 -verbosity=1 $dictionary
done
