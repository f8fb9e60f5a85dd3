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

// Hosts are in hash maps: 15 ns, however many they are, and few reads from memory when they are beyond the caches. A trie reads
// once for each fork on the way: 75 ns among 1,000 prefixes; beyond the caches, among 100,000, above 1 µs. It has the networks,
// and hosts that found no room.
#define HOSTS (1 << 16)                     // per family; 16 bytes for each, there or not
#define NETS (1 << 20)                      // per family; one that is not there takes no memory

struct net_v4 {
	__u32 length;
	__be32 address;
};

struct net_v6 {
	__u32 length;
	struct in6_addr address;
};

#define WORKERS(name, kind, entries, key_type)            \
	struct {                                          \
		__uint(type, kind);                       \
		__uint(map_flags, BPF_F_NO_PREALLOC);     \
		__uint(max_entries, entries);             \
		__type(key, key_type);                    \
		__type(value, __u32);                     \
	} name SEC(".maps")

WORKERS(hosts_v4, BPF_MAP_TYPE_HASH, HOSTS, __be32);
WORKERS(hosts_v6, BPF_MAP_TYPE_HASH, HOSTS, struct in6_addr);
WORKERS(nets_v4, BPF_MAP_TYPE_LPM_TRIE, NETS, struct net_v4);
WORKERS(nets_v6, BPF_MAP_TYPE_LPM_TRIE, NETS, struct net_v6);

SEC("socket")
int fielato_steer(struct __sk_buff *packet)
{
	__u32 *worker = NULL;
	__u8 first;

	if (bpf_skb_load_bytes(packet, 0, &first, sizeof(first)))
		return 0;
	if (first >> 4 == 4) {
		struct net_v4 host = { .length = 32 };

		if (bpf_skb_load_bytes(packet, offsetof(struct iphdr, daddr), &host.address, sizeof(host.address)))
			return 0;
		worker = bpf_map_lookup_elem(&hosts_v4, &host.address);
		if (!worker)
			worker = bpf_map_lookup_elem(&nets_v4, &host);
	} else if (first >> 4 == 6) {
		struct net_v6 host = { .length = 128 };

		if (bpf_skb_load_bytes(packet, offsetof(struct ipv6hdr, daddr), &host.address, sizeof(host.address)))
			return 0;
		worker = bpf_map_lookup_elem(&hosts_v6, &host.address);
		if (!worker)
			worker = bpf_map_lookup_elem(&nets_v6, &host);
	}
	return worker ? *worker : 0;
}
