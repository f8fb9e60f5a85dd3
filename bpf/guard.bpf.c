// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0
//
// The guard: drops packets from banned networks before the stack sees them, then counts what each source sent.
//
// Order: bans first, counters second. Counting first would let forged sources push the real ones out of the LRU.
//
// Bytes are the packet's IP bytes, from the IP header on: the same packet counts the same on Ethernet and on a device
// without a link header, and the padding of a short Ethernet frame is not counted. On Ethernet anybody may write anything
// into the length field: it is not believed beyond what arrived (`bpf_xdp_get_buff_len`; `data_end - data` would want
// CAP_PERFMON and would miss the fragments of a large frame). A WireGuard device has compared it with the decrypted
// length before it delivers a packet, so that there the call, 2 ns, is spared.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// Set before loading; see guard/load.rs.
const volatile __u8 ETHERNET = 1;           // the device's packets begin with an Ethernet header
const volatile __u64 HASH_64 = 1;           // odd multipliers, random for each load, so that nobody can aim
const volatile __u64 HASH_48 = 1;           // at the prefilter's collisions
const volatile __u64 HASH_32 = 1;

// The prefilter of IPv4 has a bit for each /24, that of IPv6 2^22 bits by hash.
#define PREFILTER_V4_WORDS (1 << 18)
#define PREFILTER_V6_BITS 22
#define PREFILTER_V6_WORDS (1 << (PREFILTER_V6_BITS - 6))

// Which kinds of IPv6 bans there are, by length of prefix. A bit in `active[V6]`.
#define V6_FROM_64 1u                       // /64 to /128: found by the first 64 bits
#define V6_FROM_48 2u                       // /48 to /63: by the first 48
#define V6_FROM_32 4u                       // /32 to /47: by the first 32
#define V6_SHORT 8u                         // shorter: the trie is always asked

enum { V4, V6 };

enum note { NOTE_SHORT, NOTE_NOT_IP, NOTES };

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct key_v4 {
	__u32 length;
	__u32 address;
};

struct key_v6 {
	__u32 length;
	struct in6_addr address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct key_v4);
	__type(value, struct counter);
} bans_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct key_v6);
	__type(value, struct counter);
} bans_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct counter);
} sources_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct in6_addr);
	__type(value, struct counter);
} sources_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PREFILTER_V4_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} prefilter_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PREFILTER_V6_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} prefilter_v6 SEC(".maps");

// By family: 0 when there is no ban, so that neither prefilter nor trie is touched. Written by user space.
volatile __u64 active[2];

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NOTES);
	__type(key, __u32);
	__type(value, __u64);
} notes SEC(".maps");

// A packet that the guard can't read is the stack's to judge; it only leaves a note.
static __always_inline int pass_with(__u32 note)
{
	__u64 *count = bpf_map_lookup_elem(&notes, &note);

	if (count)
		*count += 1;
	return XDP_PASS;
}

static __always_inline int drop(struct counter *ban, __u64 bytes)
{
	// Shared between processors: a flood from one network may arrive on all of them.
	__sync_fetch_and_add(&ban->packets, 1);
	__sync_fetch_and_add(&ban->bytes, bytes);
	return XDP_DROP;
}

static __always_inline int count(void *sources, const void *source, __u64 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(sources, source);

	if (counter) {
		// This processor's own value, and XDP is not preempted by XDP: plain additions are exact.
		counter->packets += 1;
		counter->bytes += bytes;
	} else {
		struct counter first = { .packets = 1, .bytes = bytes };

		// Should another processor have just made the entry, this writes our own value only.
		bpf_map_update_elem(sources, source, &first, BPF_ANY);
	}
	return XDP_PASS;
}

static __always_inline int prefilter_has_v4(__u32 host_order)
{
	__u32 word = host_order >> 14;
	const volatile __u64 *bits = bpf_map_lookup_elem(&prefilter_v4, &word);

	return bits && (*bits >> ((host_order >> 8) & 63) & 1);
}

static __always_inline int prefilter_has_slot(__u64 slot)
{
	__u32 word = slot >> 6;
	const volatile __u64 *bits = bpf_map_lookup_elem(&prefilter_v6, &word);

	return bits && (*bits >> (slot & 63) & 1);
}

static __always_inline int prefilter_has_v6(__u64 kinds, __u64 high)
{
	if (kinds & V6_SHORT)
		return 1;
	if (kinds & V6_FROM_64 && prefilter_has_slot(high * HASH_64 >> (64 - PREFILTER_V6_BITS)))
		return 1;
	if (kinds & V6_FROM_48 && prefilter_has_slot((high >> 16 << 16) * HASH_48 >> (64 - PREFILTER_V6_BITS)))
		return 1;
	if (kinds & V6_FROM_32 && prefilter_has_slot((high >> 32 << 32) * HASH_32 >> (64 - PREFILTER_V6_BITS)))
		return 1;
	return 0;
}

// The packet's IP bytes, of which its header claims `claimed`, or nothing if `unknown`.
static __always_inline __u64 believe(struct xdp_md *ctx, __u64 claimed, int unknown, __u64 offset)
{
	if (ETHERNET || unknown) {
		__u64 arrived = bpf_xdp_get_buff_len(ctx) - offset;

		if (unknown || claimed > arrived)
			return arrived;
	}
	return claimed;
}

static __always_inline int inspect_v4(struct xdp_md *ctx, const struct iphdr *ip, const void *end, __u64 offset)
{
	if ((const void *)(ip + 1) > end)
		return pass_with(NOTE_SHORT);
	if (ip->version != 4)
		return pass_with(NOTE_NOT_IP);

	__u32 source = ip->saddr;
	// A superpacket above 64 KiB has the length 0 (BIG TCP).
	__u64 bytes = believe(ctx, bpf_ntohs(ip->tot_len), ip->tot_len == 0, offset);

	if (active[V4] && prefilter_has_v4(bpf_ntohl(source))) {
		struct key_v4 key = { .length = 32, .address = source };
		struct counter *ban = bpf_map_lookup_elem(&bans_v4, &key);

		if (ban)
			return drop(ban, bytes);
	}
	return count(&sources_v4, &source, bytes);
}

static __always_inline int inspect_v6(struct xdp_md *ctx, const struct ipv6hdr *ip, const void *end, __u64 offset)
{
	if ((const void *)(ip + 1) > end)
		return pass_with(NOTE_SHORT);
	if (ip->version != 6)
		return pass_with(NOTE_NOT_IP);

	struct key_v6 key = { .length = 128, .address = ip->saddr };
	// RFC 2675: a jumbogram has the length 0 and a hop-by-hop header that tells the real one.
	__u64 bytes = believe(ctx, sizeof(*ip) + bpf_ntohs(ip->payload_len),
			      ip->payload_len == 0 && ip->nexthdr == IPPROTO_HOPOPTS, offset);

	__u64 kinds = active[V6];

	if (kinds) {
		__u64 high = (__u64)bpf_ntohl(key.address.in6_u.u6_addr32[0]) << 32 |
			     bpf_ntohl(key.address.in6_u.u6_addr32[1]);

		if (prefilter_has_v6(kinds, high)) {
			struct counter *ban = bpf_map_lookup_elem(&bans_v6, &key);

			if (ban)
				return drop(ban, bytes);
		}
	}
	return count(&sources_v6, &key.address, bytes);
}

// Each offset is a constant of its own: adding a variable to a packet pointer wants CAP_PERFMON.
static __always_inline int inspect_frame(struct xdp_md *ctx, const void *packet, const void *end, __be16 protocol,
					 __u64 offset)
{
	if (protocol == bpf_htons(ETH_P_IP))
		return inspect_v4(ctx, packet, end, offset);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return inspect_v6(ctx, packet, end, offset);
	return pass_with(NOTE_NOT_IP);
}

static __always_inline int is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

struct vlan_tag {
	__be16 control;
	__be16 protocol;
};

static __always_inline int inspect_vlan(struct xdp_md *ctx, const void *packet, const void *end)
{
	const struct vlan_tag *outer = packet;
	const struct vlan_tag *inner = outer + 1;

	if ((const void *)inner > end)
		return pass_with(NOTE_SHORT);
	if (!is_vlan(outer->protocol))
		return inspect_frame(ctx, inner, end, outer->protocol, ETH_HLEN + sizeof(*outer));
	if ((const void *)(inner + 1) > end)
		return pass_with(NOTE_SHORT);
	return inspect_frame(ctx, inner + 1, end, inner->protocol, ETH_HLEN + 2 * sizeof(*outer));
}

// "frags": also on native devices whose frames are larger than a page (MTU 9000).
SEC("xdp.frags")
int fielato_guard(struct xdp_md *ctx)
{
	const void *packet = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;

	if (ETHERNET) {
		const struct ethhdr *ethernet = packet;

		if ((const void *)(ethernet + 1) > end)
			return pass_with(NOTE_SHORT);
		if (is_vlan(ethernet->h_proto))
			return inspect_vlan(ctx, ethernet + 1, end);
		return inspect_frame(ctx, ethernet + 1, end, ethernet->h_proto, ETH_HLEN);
	}

	// No link header (wg0, TUN): the version says which protocol it is.
	const __u8 *version = packet;

	if ((const void *)(version + 1) > end)
		return pass_with(NOTE_SHORT);
	switch (*version >> 4) {
	case 4:
		return inspect_v4(ctx, packet, end, 0);
	case 6:
		return inspect_v6(ctx, packet, end, 0);
	}
	return pass_with(NOTE_NOT_IP);
}
