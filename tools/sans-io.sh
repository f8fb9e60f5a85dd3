#!/bin/bash
# sans-io.sh: the crates that must not touch sockets, files, clocks or threads don't. Part of `make lint`.
#
# Two checks: nothing in their dependency trees does such things for them, and clippy's disallowed methods and types
# (each crate's clippy.toml) don't occur in their code. Their tests may use a clock, so only the libraries are checked.
set -euo pipefail
cd "$(dirname "$0")/.."

crates=(wire netfilter iptables wireguard qdisc gateway policy fleet)
forbidden='tokio|async-std|smol|mio|socket2|tun-rs|netlink-sys|aya|libbpf-(rs|sys)'
failed=0

for crate in "${crates[@]}"; do
    tree=$(cargo tree --quiet --locked --package "fielato-$crate" --edges normal,build --prefix none --format '{p}')
    if found=$(cut -d ' ' -f 1 <<<"$tree" | sort -u | grep -xE "$forbidden"); then
        echo "sans-io.sh: fielato-$crate depends on $(tr '\n' ' ' <<<"$found")" >&2
        failed=1
    fi
    [ -f "crates/$crate/clippy.toml" ] || { echo "sans-io.sh: crates/$crate/clippy.toml is missing" >&2; failed=1; }
done

cargo clippy --quiet --locked "${crates[@]/#/--package=fielato-}" --lib -- \
    -D clippy::disallowed_methods -D clippy::disallowed_types || failed=1
exit $failed
