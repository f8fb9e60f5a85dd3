// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0
//
// What the guard is measured against: does just what the program shown in the talk does. It takes every packet for an
// Ethernet frame and falls back to a bare IPv4 header, counts IPv4 sources only, in 32 bits, in an LRU map of 16
// entries, and then compares the source with one banned address. Not installed anywhere.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u32 BANNED = 0;            // network order

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32);
} talk_sources SEC(".maps");

SEC("xdp")
int talk(struct xdp_md *ctx)
{
	void *packet = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = packet;
	struct iphdr *ip;

	if ((void *)(ethernet + 1) > end)
		return XDP_PASS;
	ip = ethernet->h_proto == bpf_htons(ETH_P_IP) ? (struct iphdr *)(ethernet + 1) : packet;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;

	__u32 source = ip->saddr;
	__u32 *packets = bpf_map_lookup_elem(&talk_sources, &source);

	if (packets) {
		__sync_fetch_and_add(packets, 1);
	} else {
		__u32 first = 1;

		bpf_map_update_elem(&talk_sources, &source, &first, BPF_ANY);
	}
	return source == BANNED ? XDP_DROP : XDP_PASS;
}
