//! The script for a host without an agent: applied twice it is the same, unconfirmed it is as before, confirmed it stays.

mod common;

use common::{config, full, in_namespace};
use fielato_policy::render::script;

/// Runs `steps` in a namespace of its own with the script of a host as `$S`, others' rules, and `rules` to print all there is.
fn run(test: &str, host: &str, steps: &str) -> Option<String> {
    let text = script::host(&common::host(&config(&full()), host)?);
    let prelude = r#"
export STATE=$(mktemp -d)/state S=$(mktemp)
trap 'rm -rf "${STATE%/state}" "$S"' EXIT
cat >"$S"
ip link set lo up
ip link add wg0 type veth peer name other
nft add table ip others
nft add chain ip others input '{ type filter hook input priority 1; policy accept; }'
# sh -e does not end at a `!` that fails.
not() { if "$@"; then exit 9; fi; }
rules() { nft -s list ruleset; cat /proc/sys/net/ipv4/conf/wg0/rp_filter; }
"#;
    in_namespace(test, &format!("{prelude}\n{steps}"), &text)
}

/// One host for each strategy.
const HOSTS: [&str; 2] = ["server", "bob"];

#[test]
fn applied_twice_is_the_same() {
    for host in HOSTS {
        let steps = r#"
CONFIRM=0 sh "$S" >/dev/null; rules >"$STATE.one"
CONFIRM=0 sh "$S" >/dev/null; rules >"$STATE.two"
cmp "$STATE.one" "$STATE.two" && grep fielato_host "$STATE.two" && grep others "$STATE.two""#;
        run("applied_twice_is_the_same", host, steps);
    }
}

#[test]
fn not_confirmed_is_as_before() {
    for host in HOSTS {
        // From nothing, and from somebody's earlier rules; with the session that applied it gone, its process group killed.
        let steps = r#"
for before in "" "table inet fielato_host { set s { type ipv4_addr; elements = { 192.0.2.1 }; }; chain input { type filter hook input priority 0; ip saddr @s drop; }; }"; do
	[ -z "$before" ] || nft "$before"
	echo 2 >/proc/sys/net/ipv4/conf/wg0/rp_filter
	rules >"$STATE.before"
	setsid sh -c 'CONFIRM=1 sh "$S" >/dev/null; rules() { nft -s list ruleset; }; rules >"$STATE.during"; kill -HUP 0' || :
	not cmp -s "$STATE.before" "$STATE.during"
	grep -q "hook input priority filter" "$STATE.during"
	tries=0; while [ -d "$STATE/pending" ] || [ -d "$STATE/undone" ]; do
		tries=$((tries+1)); [ $tries -lt 100 ]; sleep 0.1
	done
	rules | diff "$STATE.before" -
done
not sh "$S" confirm 2>/dev/null"#;
        run("not_confirmed_is_as_before", host, steps);
    }
}

#[test]
fn confirmed_stays() {
    for host in HOSTS {
        let steps = r#"
rules >"$STATE.before"
CONFIRM=1 sh "$S" >/dev/null
not env CONFIRM=1 sh "$S" 2>"$STATE.err"; grep -q "earlier run waits" "$STATE.err"
# As over ssh: the text comes by standard input.
sh -s confirm <"$S"
rules >"$STATE.kept"
sleep 1.5
rules | diff "$STATE.kept" -
not cmp -s "$STATE.before" "$STATE.kept"
# A run that was confirmed is what the next one falls back to; its own watcher does not take back a later run.
CONFIRM=1 sh "$S" >/dev/null; sh "$S" confirm >/dev/null
CONFIRM=30 sh "$S" >/dev/null; sleep 1.5; [ -d "$STATE/pending" ]
sh "$S" rollback; rules | diff "$STATE.kept" -
sh "$S" remove >/dev/null; rules | diff "$STATE.before" -"#;
        run("confirmed_stays", host, steps);
    }
}

#[test]
fn a_key_on_the_terminal_confirms() {
    // script(1) gives it a terminal.
    if !fielato_testkit::need("a_key_on_the_terminal_confirms", "script") {
        return;
    }
    let steps = r#"
(sleep 0.7; printf x) | script -qec 'CONFIRM=5 sh "$S"' /dev/null >/dev/null
[ ! -d "$STATE/pending" ]
rules | grep -q fielato_host
sleep 5.5
rules | grep -q fielato_host"#;
    run("a_key_on_the_terminal_confirms", "server", steps);
}

#[test]
fn rules_that_nft_refuses_change_nothing() {
    let steps = r#"
sed 's/hook input/hook nowhere/' "$S" >"$STATE.bad"
rules >"$STATE.before"
not env CONFIRM=5 sh "$STATE.bad" 2>"$STATE.err"
grep -q "nothing was changed" "$STATE.err"
rules | diff "$STATE.before" -
[ ! -d "$STATE/pending" ]"#;
    run("rules_that_nft_refuses_change_nothing", "server", steps);
}
