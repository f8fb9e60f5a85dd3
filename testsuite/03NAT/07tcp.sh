#!/bin/bash
# A translated TCP connection, through its handshake and data; checksums stay right.
. "$LIB"

check() {
    case $FAMILY in
        4) to=${N0}9:4000 ;;
        6) to=[${N0}9]:4000 ;;
    esac
    h=$((HEAD + 20))
    pass tap1 ${N1}2 ${N0}2 $h 6 1000 80 SYN SYN=100
    $IPT -t nat -A POSTROUTING -o tap0 -p tcp -j SNAT --to-source $to
    through tap1 ${N1}2 ${N0}2 $((h + 4)) 6 1001 80 SYN OPT=mss:1400 SYN=100
    expect "tap0 ${N0}9 ${N0}2 $((h + 4)) 6 4000 80 SYN OPT=mss:1400 SYN=100"
    through tap0 ${N0}2 ${N0}9 $h 6 80 4000 SYN/ACK SYN=500 ACK=101
    expect "tap1 ${N0}2 ${N1}2 $h 6 80 1001 SYN/ACK SYN=500 ACK=101"
    through tap1 ${N1}2 ${N0}2 $h 6 1001 80 ACK SYN=101 ACK=501
    expect "tap0 ${N0}9 ${N0}2 $h 6 4000 80 ACK SYN=101 ACK=501"
    printf hello | gen_ip ${N0}2 ${N0}9 0 6 80 4000 PSH/ACK SYN=501 ACK=101 DATA >$TAPS/tap0
    RCV=DATA out tap0
    expect "tap1 ${N0}2 ${N1}2 $((h + 5)) 6 80 1001 PSH/ACK SYN=501 ACK=101 DATA" "tap1 hello"
    # What belongs to no connection is not translated back, and the machine is not 9.
    pass tap0 ${N0}2 ${N1}2 $h 6 80 999 ACK SYN=1 ACK=1
    $IPT -A FORWARD -i tap0 -j DROP
    stop tap0 ${N0}2 ${N0}9 $h 6 80 4000 ACK SYN=506 ACK=101
}
both check
