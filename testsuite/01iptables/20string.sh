#!/bin/bash
# -m string: text or bytes in the packet, between two places.
. "$LIB"

check() {
    say() { # say TEXT: in a datagram
        printf %s "$1" | gen_ip ${N1}2 ${N0}2 $((HEAD + 40)) 17 1000 2000 DATA >$TAPS/tap1
        out tap1
    }
    came="tap0 ${N1}2 ${N0}2 $((HEAD + 40)) 17 1000 2000"
    for algorithm in bm kmp; do
        say "the secret word"
        expect "$came"
        $IPT -A FORWARD -m string --algo $algorithm --string secret -j DROP
        say "the secret word"
        expect
        say "the Secret word"
        expect "$came"
        $IPT -R FORWARD 1 -m string --algo $algorithm --icase --string secret -j DROP
        say "the Secret word"
        expect
        $IPT -R FORWARD 1 -m string --algo $algorithm --hex-string '|73 65|cret' -j DROP
        say "the secret word"
        expect
        $IPT -R FORWARD 1 -m string --algo $algorithm ! --string secret -j DROP
        say "the secret word"
        expect "$came"
        # Offsets count from the IP header.
        $IPT -R FORWARD 1 -m string --algo $algorithm --from $((HEAD + 13)) --string secret -j DROP
        say "the secret word"
        expect "$came"
        $IPT -R FORWARD 1 -m string --algo $algorithm --from $((HEAD + 12)) --string secret -j DROP
        say "the secret word"
        expect
        $IPT -F
    done
}
both check
