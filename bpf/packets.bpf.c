// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0
//
// Counts the packets of each WireGuard peer on the kernel's interface, which itself counts bytes only.
//
// At tc's two hooks of the interface (clsact): behind decryption on the way in, before encryption on the way out. A filter of
// nftables would count a superpacket as one: WireGuard gives what it decrypts to GRO, and cuts what is sent to it itself.
// Here the kernel tells how many packets it stands for.
//
// Nothing is decided here: TC_ACT_UNSPEC leaves the packet to whatever filter comes next.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define PEERS (1 << 16)

// A peer's public key: user space finds its counters by that, whichever process made them.
struct peer {
	__u8 key[32];
};

struct counts {
	__u64 received;
	__u64 sent;
};

#define VALUE struct peer
#include "prefixes.h"

// Written by user space, one for each peer. The one map that outlives the process.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PEERS);
	__type(key, struct peer);
	__type(value, struct counts);
} counts_of SEC(".maps");

static __always_inline long load(struct __sk_buff *packet, __u32 offset, void *to, __u32 len)
{
	return bpf_skb_load_bytes_relative(packet, offset, to, len, BPF_HDR_START_NET);
}

// How many packets a superpacket stands for. The kernel knows it of its own; of one that a virtual machine's network card or a
// TUN brought (SKB_GSO_DODGY) it knows the size of the pieces, and reckons as here (`qdisc_pkt_len_init` in net/core/dev.c).
static __noinline __u32 pieces(struct __sk_buff *packet)
{
	__u32 headers, whole, size = packet->gso_size;
	__u8 first, protocol, offset;

	if (packet->gso_segs || !size)
		return packet->gso_segs ? packet->gso_segs : 1;
	if (load(packet, 0, &first, sizeof(first)))
		return 1;
	if (first >> 4 == 4) {
		__be16 total;

		if (load(packet, offsetof(struct iphdr, protocol), &protocol, sizeof(protocol)) ||
		    load(packet, offsetof(struct iphdr, tot_len), &total, sizeof(total)))
			return 1;
		headers = (first & 15) * 4;
		whole = bpf_ntohs(total);
	} else {
		__be16 payload;

		if (load(packet, offsetof(struct ipv6hdr, nexthdr), &protocol, sizeof(protocol)) ||
		    load(packet, offsetof(struct ipv6hdr, payload_len), &payload, sizeof(payload)))
			return 1;
		headers = sizeof(struct ipv6hdr);
		whole = headers + bpf_ntohs(payload);
	}
	if (protocol == IPPROTO_TCP) {
		// The data offset stands in the high half of the thirteenth byte.
		if (load(packet, headers + 12, &offset, sizeof(offset)))
			return 1;
		headers += (offset >> 4) * 4;
	} else {
		headers += sizeof(struct udphdr);
	}
	return whole > headers ? (whole - headers + size - 1) / size : 1;
}

// Each processor has its own values, and neither hook is interrupted by itself: plain additions are exact.
static __always_inline void count_for(struct peer *peer, struct __sk_buff *packet, int sent)
{
	struct counts *counts;

	if (!peer)
		return;
	counts = bpf_map_lookup_elem(&counts_of, peer);
	if (!counts)
		return;
	if (sent)
		counts->sent += pieces(packet);
	else
		counts->received += pieces(packet);
}

// The packet is its source's on the way in, its destination's on the way out.
//
// To a loader without CAP_PERFMON, as the service is, Linux 6.1 is particular. It refuses to write behind a constant, in the same
// eight bytes of the stack: so a key's length comes last. It follows also the branch that a constant does not take (Spectre 1), and
// refuses the program for what it would do there with NULL: so no pointer is that constant.
static __always_inline int count(struct __sk_buff *packet, int sent)
{
	if (packet->protocol == bpf_htons(ETH_P_IP)) {
		struct net_v4 host;
		__u32 offset = sent ? offsetof(struct iphdr, daddr) : offsetof(struct iphdr, saddr);

		if (load(packet, offset, &host.address, sizeof(host.address)))
			return TC_ACT_UNSPEC;
		host.length = 32;
		count_for(of_v4(&host), packet, sent);
	} else if (packet->protocol == bpf_htons(ETH_P_IPV6)) {
		struct net_v6 host;
		__u32 offset = sent ? offsetof(struct ipv6hdr, daddr) : offsetof(struct ipv6hdr, saddr);

		if (load(packet, offset, &host.address, sizeof(host.address)))
			return TC_ACT_UNSPEC;
		host.length = 128;
		count_for(of_v6(&host), packet, sent);
	}
	return TC_ACT_UNSPEC;
}

SEC("classifier")
int fielato_received(struct __sk_buff *packet)
{
	return count(packet, 0);
}

SEC("classifier")
int fielato_sent(struct __sk_buff *packet)
{
	return count(packet, 1);
}
