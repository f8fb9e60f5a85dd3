#!/bin/bash
# -m conntrack: addresses, ports, direction, status, protocol of the connection.
. "$LIB"

check() {
    there="${N1}2 ${N0}2 100 17 1000 2000"
    back="${N0}2 ${N1}2 100 17 2000 1000"
    $IPT -t mangle -A OUTPUT -m conntrack --ctstate NEW
    for option in "--ctproto udp" "--ctorigsrc ${N1}2" "--ctorigdst ${N0}0/$W" "--ctreplsrc ${N0}2" "--ctrepldst ${N1}2" \
        "--ctorigsrcport 1000" "--ctorigdstport 1999:2001" "--ctreplsrcport 2000" "--ctrepldstport 1000"; do
        pass tap1 $there
        pass tap0 $back
        $IPT -A FORWARD -m conntrack $option -j DROP
        stop tap1 $there
        stop tap0 $back
        $IPT -F
    done
    for direction in ORIGINAL:tap1 REPLY:tap0; do
        $IPT -A FORWARD -m conntrack --ctdir ${direction%:*} -j DROP
        case $direction in
            O*) stop tap1 $there; pass tap0 $back ;;
            R*) pass tap1 $there; stop tap0 $back ;;
        esac
        $IPT -F
    done
    $IPT -A FORWARD -m conntrack --ctorigsrc ${N0}2 -j DROP
    $IPT -A FORWARD -m conntrack ! --ctproto 17 -j DROP
    pass tap1 $there
    $IPT -A FORWARD -m conntrack --ctstatus SEEN_REPLY -j DROP
    stop tap1 $there
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2001
}
both check
