// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0
//
// Which queue of a TUN interface a packet comes out of: that of the worker who serves its destination
// (`tun_ebpf_select_queue` in the kernel's drivers/net/tun.c, which takes the result modulo the number of queues).
//
// The packet begins with its IP header, as such an interface has no other. From a packet socket come any bytes at all.
// What is no IP packet, and what no prefix covers, goes to the first queue.

#include <linux/bpf.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// The number of the worker that serves a prefix.
#define VALUE __u32
#include "prefixes.h"

static __always_inline int queue_of(const __u32 *worker)
{
	return worker ? *worker : 0;
}

// How keys are written, and that none of the pointers is a constant, is for Linux 6.1: see packets.bpf.c.
SEC("socket")
int fielato_steer(struct __sk_buff *packet)
{
	__u8 first;

	if (bpf_skb_load_bytes(packet, 0, &first, sizeof(first)))
		return 0;
	if (first >> 4 == 4) {
		struct net_v4 host;

		if (bpf_skb_load_bytes(packet, offsetof(struct iphdr, daddr), &host.address, sizeof(host.address)))
			return 0;
		host.length = 32;
		return queue_of(of_v4(&host));
	}
	if (first >> 4 == 6) {
		struct net_v6 host;

		if (bpf_skb_load_bytes(packet, offsetof(struct ipv6hdr, daddr), &host.address, sizeof(host.address)))
			return 0;
		host.length = 128;
		return queue_of(of_v6(&host));
	}
	return 0;
}
