#!/bin/bash
# -m tcpmss and -j TCPMSS: the maximum segment size that a SYN announces.
. "$LIB"

check() {
    syn() {
        echo "${N1}2 ${N0}2 $((HEAD + 24)) 6 1000 80 SYN $1"
    }
    pass tap1 $(syn OPT=mss:1460)
    $IPT -A FORWARD -p tcp --syn -m tcpmss --mss 1400: -j DROP
    stop tap1 $(syn OPT=mss:1460)
    pass tap1 $(syn OPT=mss:1399)
    $IPT -F
    $IPT -t mangle -A FORWARD -p tcp --syn -j TCPMSS --set-mss 1200
    through tap1 $(syn OPT=mss:1460)
    expect "tap0 $(syn OPT=mss:1200)"
    # It is never made more.
    pass tap1 $(syn OPT=mss:1000)
    # A SYN without it gets it; other segments stay as they are.
    through tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1000 80 SYN
    case $FAMILY in
        4) expect "tap0 $(syn OPT=mss:536)" ;;
        6) expect "tap0 $(syn OPT=mss:1200)" ;;
    esac
    pass tap1 ${N1}2 ${N0}2 $((HEAD + 24)) 6 1000 80 ACK OPT=mss:1460
    $IPT -t mangle -R FORWARD 1 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
    through tap1 $(syn OPT=mss:9000)
    expect "tap0 $(syn OPT=mss:$((1500 - HEAD - 20)))"
    refused $IPT -t mangle -A FORWARD -p udp -j TCPMSS --set-mss 1200
}
both check
