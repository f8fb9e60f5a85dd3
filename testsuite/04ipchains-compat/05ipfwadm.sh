#!/bin/bash
# ipfwadm: -I -F -O, policies, ports, masquerading.
. "$LIB"

needs_ipchains
family 4
packet="${N1}2 ${N0}2 100 17 1000 2000"
pass tap1 $packet
for chain in I F O; do
    ipfwadm -$chain -a deny -P udp -S ${N1}2/32 -D 0.0.0.0/0 2000
    stop tap1 $packet
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2001
    ipfwadm -$chain -f
    pass tap1 $packet
done
ipfwadm -F -p deny
stop tap1 $packet
ipfwadm -F -a accept -S ${N1}0/24
pass tap1 $packet
ipfwadm -F -d accept -S ${N1}0/24
stop tap1 $packet
ipfwadm -F -a masquerade -S ${N1}0/24
through tap1 ${N1}2 ${N0}2 100 17 1001 2000
grep -q "^tap0 ${N0}1 ${N0}2 100 17 [0-9]* 2000$" $TMPFILE
