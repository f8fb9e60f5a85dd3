#!/bin/bash
# --sport and --dport: a port, a range, open ranges, a service's name.
. "$LIB"

check() {
    for protocol in "udp 17" "tcp 6"; do
        set -- $protocol
        flags=
        [ $2 = 17 ] || flags=SYN
        packet="${N1}2 ${N0}2 100 $2 1000 53 $flags"
        for option in "--dport 53" "--dport domain" "--dport 50:60" "--dport :53" "--dport 53:" "--sport 1000" "--sport 1000:1000" \
            "--sport 1000 --dport 53"; do
            pass tap1 $packet
            $IPT -A FORWARD -p $1 $option -j DROP
            stop tap1 $packet
            $IPT -F
        done
        for option in "--dport 54" "--dport 54:" "--dport :52" "--sport 999" "--sport 1000 --dport 1000"; do
            $IPT -A FORWARD -p $1 $option -j DROP
            pass tap1 $packet
        done
        $IPT -F
    done
    # Ports belong to a protocol.
    refused $IPT -A FORWARD --dport 53 -j DROP
}
both check
