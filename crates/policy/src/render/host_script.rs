//! A protected host without an agent: one script for sh that applies its rules, and takes them back unless somebody confirms in time.

use std::fmt::Write as _;

use super::nft;
use super::script::quoted;
use crate::plan::{Admit, HostPlan};

/// What makes a machine a protected host. It can be run again and again, also from standard input (`ssh HOST sh -s < script`).
///
/// `apply` (the default) leaves a process behind that puts back what was there before, unless `confirm` comes within `CONFIRM`
/// seconds (60; 0: at once, as at boot). That process is in a session of its own: it outlives the one that may have been cut off.
pub fn host(plan: &HostPlan) -> String {
    let HostPlan { name, admit, .. } = plan;
    let setting = match admit {
        Admit::Interface(interface) => format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter"),
        Admit::Sources(_) => String::new(),
    };
    let mut out = String::from("#!/bin/sh\n");
    let _ = writeln!(
        out,
        "# Lets only the VPN reach the services of {name}, or what else the policy says."
    );
    out.push_str(HELP);
    let _ = writeln!(
        out,
        "# What tells forged addresses, for IPv4; empty where the rules do not go by the interface."
    );
    let _ = writeln!(out, "SETTING={}\n", quoted(&setting));
    let _ = writeln!(out, "rules() {{\n\tcat <<'RULES'\n{}RULES\n}}\n", nft::host(plan));
    out.push_str(BODY);
    out
}

const HELP: &str = r#"#
#   sh script            apply; taken back after a minute, unless
#   sh script confirm    says within that time that all is well (or, on a terminal, any key)
#   sh script rollback   take back at once what waits for confirmation
#   sh script remove     take the rules away
#
# CONFIRM=SECONDS waits for another time; CONFIRM=0, as for boot, applies for good. Only the table inet fielato_host is touched.
# Run as root.
set -eu
umask 077
TABLE="inet fielato_host"
STATE=${STATE:-/var/lib/fielato-host}
CONFIRM=${CONFIRM:-60}
"#;

const BODY: &str = r#"fail() {
	echo "$*" >&2
	exit 1
}

# Puts back what the folder $1 says was there, rules in one transaction.
restore() {
	{
		echo "add table $TABLE"
		echo "delete table $TABLE"
		cat "$1/rules"
	} | nft -f -
	if [ -s "$1/setting" ] && [ -e "$SETTING" ]; then
		cat "$1/setting" >"$SETTING"
	fi
}

# Renaming decides: of the one who confirms and the one who takes back, one finds the folder.
decide() {
	rm -rf "$STATE/$1"
	mv "$STATE/pending" "$STATE/$1" 2>/dev/null
}

take_back() {
	decide undone || return 1
	restore "$STATE/undone"
	rm -rf "$STATE/undone"
}

confirm() {
	decide kept || fail "nothing waits for confirmation"
	rm -rf "$STATE/kept"
	echo "confirmed"
}

apply() {
	command -v nft >/dev/null || fail "the program nft is missing; install it (Debian's package nftables)"
	mkdir -p "$STATE"
	boot=$(cat /proc/sys/kernel/random/boot_id)
	if [ -d "$STATE/pending" ]; then
		# What waited when the machine was switched off has gone with it.
		if [ "$(cat "$STATE/pending/boot" 2>/dev/null)" = "$boot" ]; then
			fail "an earlier run waits for confirmation: 'confirm' or 'rollback' comes first"
		fi
		rm -rf "$STATE/pending"
	fi
	rules | nft -c -f - || fail "nft refuses the rules; nothing was changed"

	rm -rf "$STATE/next"
	mkdir "$STATE/next"
	echo "$boot" >"$STATE/next/boot"
	nft -s list table $TABLE >"$STATE/next/rules" 2>/dev/null || : >"$STATE/next/rules"
	if [ -n "$SETTING" ] && [ -e "$SETTING" ]; then
		cat "$SETTING" >"$STATE/next/setting"
		# As it was before the very first run, for `remove`.
		[ -e "$STATE/setting" ] || cp "$STATE/next/setting" "$STATE/setting"
	fi
	mv "$STATE/next" "$STATE/pending"

	if [ "$CONFIRM" != 0 ]; then
		# Before anything is changed. This text may have come by standard input, so the process gets its own.
		{
			echo "SETTING='$SETTING' STATE='$STATE' TABLE='$TABLE'"
			cat <<'WATCH'
trap '' HUP
restore() {
	{
		echo "add table $TABLE"
		echo "delete table $TABLE"
		cat "$1/rules"
	} | nft -f -
	if [ -s "$1/setting" ] && [ -e "$SETTING" ]; then
		cat "$1/setting" >"$SETTING"
	fi
}
WATCH
			echo "sleep $CONFIRM"
			echo 'mine=$(cat "$STATE/pending/watch" 2>/dev/null); [ "$mine" = "$1" ] || exit 0'
			echo 'rm -rf "$STATE/undone"; mv "$STATE/pending" "$STATE/undone" 2>/dev/null || exit 0'
			echo 'restore "$STATE/undone"; rm -rf "$STATE/undone"'
		} >"$STATE/watch"
		echo "$$.$(date +%s)" >"$STATE/pending/watch"
		setsid nohup sh "$STATE/watch" "$(cat "$STATE/pending/watch")" </dev/null >/dev/null 2>&1 &
	fi

	if ! rules | nft -f -; then
		take_back || :
		fail "nft refused the rules; nothing was changed"
	fi
	if [ -n "$SETTING" ] && [ -e "$SETTING" ]; then
		echo 1 >"$SETTING"
	fi

	if [ "$CONFIRM" = 0 ]; then
		confirm
	elif [ -t 0 ]; then
		ask
	else
		echo "applied; taken back in $CONFIRM seconds unless confirmed: run this again with 'confirm'"
	fi
}

# On a terminal: whoever can press a key has not been cut off.
ask() {
	echo "applied; press any key within $CONFIRM seconds to keep it"
	before=$(stty -g)
	trap 'stty "$before"' EXIT
	stty -icanon -echo min 0 time 5
	while [ -d "$STATE/pending" ]; do
		if [ -n "$(dd bs=1 count=1 2>/dev/null | od -An -tx1)" ]; then
			confirm
			return
		fi
	done
	fail "nobody pressed a key: taken back"
}

remove() {
	take_back || :
	nft -f - <<NFT
add table $TABLE
delete table $TABLE
NFT
	if [ -s "$STATE/setting" ] && [ -e "$SETTING" ]; then
		cat "$STATE/setting" >"$SETTING"
	fi
	rm -rf "$STATE"
	echo "the rules are gone"
}

case ${1:-apply} in
apply) apply ;;
confirm) confirm ;;
rollback) take_back || fail "nothing waits for confirmation" ;;
remove) remove ;;
*) fail "say apply, confirm, rollback or remove" ;;
esac
"#;
