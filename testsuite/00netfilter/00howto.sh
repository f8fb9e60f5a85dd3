#!/bin/bash
# The hacking HOWTO's example: a ping crosses from tap1 to tap0.
. "$LIB"
# Job control, so that & can be used in a script.
set -m

# Wait two seconds for one packet from tap0.
rcv_ip 2 1 < $TAPS/tap0 > $TMPFILE &
# The ping.
gen_ip $TAP1NET.2 $TAP0NET.2 100 1 8 0 55 57 > $TAPS/tap1 || exit 1
# shellcheck disable=SC1083
if wait %rcv_ip; then :
else
    fail rcv_ip failed: "$(cat $TMPFILE)"
fi
[ "$(cat $TMPFILE)" = "$TAP1NET.2 $TAP0NET.2 100 1 8 0 55 57" ]

# Without a packet, rcv_ip fails.
refused rcv_ip 0.2 1 < $TAPS/tap0
