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

// Set before loading; see guard/filter.rs.
const volatile __u8 ETHERNET = 1;           // the device's packets begin with an Ethernet header
const volatile __u64 HASH_64 = 1;           // odd multipliers, random for each load, so that nobody can aim
const volatile __u64 HASH_48 = 1;           // at the collisions of the bits
const volatile __u64 HASH_32 = 1;
const volatile __u64 HASH_HOST_HIGH = 1;
const volatile __u64 HASH_HOST_LOW = 1;

// In front of the bans stand bits: a clear one says "no ban". Bans of IPv4 networks have a bit for each /24; all others
// have 2^22 bits by hash.
#define BITS_V4_WORDS (1 << 18)
#define HASHED_BITS 22
#define HASHED_WORDS (1 << (HASHED_BITS - 6))

// Which kinds of bans there are, by length of prefix. Bits in `active`.
#define HOSTS 1u                            // /32 of IPv4, /128 of IPv6: a hash map, not a trie
#define V4_NETS 2u                          // shorter, IPv4: found by the first 24 bits
#define V6_FROM_64 2u                       // IPv6, /64 to /127: found by the first 64 bits
#define V6_FROM_48 4u                       // /48 to /63: by the first 48
#define V6_FROM_32 8u                       // /32 to /47: by the first 32
#define V6_SHORT 16u                        // shorter: the trie is always asked

enum { V4, V6 };

enum note { NOTE_SHORT, NOTE_NOT_IP, NOTES };

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct net_v4 {
	__u32 length;
	__u32 address;
};

struct net_v6 {
	__u32 length;
	struct in6_addr address;
};

// An IPv4 address with four bytes of zero: the kernel compares the keys of a hash map eight bytes at a time, the rest
// byte by byte, so that a key of four bytes costs 4 ns more than one of eight.
typedef __u64 host_v4;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct net_v4);
	__type(value, struct counter);
} net_bans_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct net_v6);
	__type(value, struct counter);
} net_bans_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, host_v4);
	__type(value, struct counter);
} host_bans_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct in6_addr);
	__type(value, struct counter);
} host_bans_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, host_v4);
	__type(value, struct counter);
} sources_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct in6_addr);
	__type(value, struct counter);
} sources_v6 SEC(".maps");

#define BITS(name, words)                                 \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_ARRAY);         \
		__uint(map_flags, BPF_F_MMAPABLE);        \
		__uint(max_entries, words);               \
		__type(key, __u32);                       \
		__type(value, __u64);                     \
	} name SEC(".maps")

BITS(net_bits_v4, BITS_V4_WORDS);
BITS(net_bits_v6, HASHED_WORDS);
BITS(host_bits_v4, HASHED_WORDS);
BITS(host_bits_v6, HASHED_WORDS);

// By family: 0 when there is no ban, so that nothing else is touched. Written by user space.
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

// Counts the packet for a ban, if there is one; whether there is.
static __always_inline int count_banned(struct counter *ban, __u64 bytes)
{
	if (!ban)
		return 0;
	// Shared between processors: a flood from one network may arrive on all of them.
	__sync_fetch_and_add(&ban->packets, 1);
	__sync_fetch_and_add(&ban->bytes, bytes);
	return 1;
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

static __always_inline int is_set(void *bits, __u64 slot)
{
	__u32 word = slot >> 6;
	const volatile __u64 *found = bpf_map_lookup_elem(bits, &word);

	return found && (*found >> (slot & 63) & 1);
}

static __always_inline int is_hash_set(void *bits, __u64 hash)
{
	return is_set(bits, hash >> (64 - HASHED_BITS));
}

// The sum of two products alone would let two addresses collide that differ in the highest bits only.
static __always_inline __u64 host_hash(__u64 high, __u64 low)
{
	__u64 mixed = high * HASH_HOST_HIGH;

	return ((mixed ^ mixed >> 32) + low) * HASH_HOST_LOW;
}

// A store that stays behind those before it. To a loader without CAP_PERFMON, as the service is, Linux 6.1 refuses to write behind a
// number of known size, in the same eight bytes of the stack: so keys are written from their end to their beginning.
#define IN_TURN(place, value) (*(volatile typeof(place) *)&(place) = (value))

// Counts the packet for its source's most specific ban, a host's, else that of the longest prefix; whether there is one.
//
// A function of its own, for the sake of the packets that meet no ban. For a loader without CAP_PERFMON, as the service
// is, the kernel puts a barrier after the first write to each place on the stack (Spectre 4), 10 ns each; inlined, the
// registers that this saves there would be saved by every packet. It returns no pointer: Linux 6.1 would follow also the
// branch that a constant NULL does not take (Spectre 1), and refuse the program for what it would read there.
static __noinline int count_banned_v4(__u64 kinds, const host_v4 *source, __u64 bytes)
{
	__u32 address = bpf_ntohl(*source);

	if (kinds & HOSTS && is_hash_set(&host_bits_v4, host_hash(0, address))) {
		if (count_banned(bpf_map_lookup_elem(&host_bans_v4, source), bytes))
			return 1;
	}
	if (kinds & V4_NETS && is_set(&net_bits_v4, address >> 8)) {
		struct net_v4 key;

		IN_TURN(key.address, *source);
		IN_TURN(key.length, 32);
		return count_banned(bpf_map_lookup_elem(&net_bans_v4, &key), bytes);
	}
	return 0;
}

static __always_inline __u64 half(const struct in6_addr *address, int first)
{
	return (__u64)bpf_ntohl(address->in6_u.u6_addr32[first]) << 32 |
	       bpf_ntohl(address->in6_u.u6_addr32[first + 1]);
}

static __always_inline int may_be_in_net_v6(__u64 kinds, __u64 high)
{
	if (kinds & V6_SHORT)
		return 1;
	if (kinds & V6_FROM_64 && is_hash_set(&net_bits_v6, high * HASH_64))
		return 1;
	if (kinds & V6_FROM_48 && is_hash_set(&net_bits_v6, (high >> 16 << 16) * HASH_48))
		return 1;
	if (kinds & V6_FROM_32 && is_hash_set(&net_bits_v6, (high >> 32 << 32) * HASH_32))
		return 1;
	return 0;
}

// See count_banned_v4.
static __noinline int count_banned_v6(__u64 kinds, const struct in6_addr *source, __u64 bytes)
{
	__u64 high = half(source, 0);

	if (kinds & HOSTS && is_hash_set(&host_bits_v6, host_hash(high, half(source, 2)))) {
		if (count_banned(bpf_map_lookup_elem(&host_bans_v6, source), bytes))
			return 1;
	}
	if (may_be_in_net_v6(kinds, high)) {
		struct net_v6 key;

		for (int word = 3; word >= 0; word--)
			IN_TURN(key.address.in6_u.u6_addr32[word], source->in6_u.u6_addr32[word]);
		IN_TURN(key.length, 128);
		return count_banned(bpf_map_lookup_elem(&net_bans_v6, &key), bytes);
	}
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

	host_v4 source = ip->saddr;
	// A superpacket above 64 KiB has the length 0 (BIG TCP).
	__u64 bytes = believe(ctx, bpf_ntohs(ip->tot_len), ip->tot_len == 0, offset);

	__u64 kinds = active[V4];

	if (kinds && count_banned_v4(kinds, &source, bytes))
		return XDP_DROP;
	return count(&sources_v4, &source, bytes);
}

static __always_inline int inspect_v6(struct xdp_md *ctx, const struct ipv6hdr *ip, const void *end, __u64 offset)
{
	if ((const void *)(ip + 1) > end)
		return pass_with(NOTE_SHORT);
	if (ip->version != 6)
		return pass_with(NOTE_NOT_IP);

	// RFC 2675: a jumbogram has the length 0 and a hop-by-hop header that tells the real one.
	__u64 bytes = believe(ctx, sizeof(*ip) + bpf_ntohs(ip->payload_len),
			      ip->payload_len == 0 && ip->nexthdr == IPPROTO_HOPOPTS, offset);
	__u64 kinds = active[V6];

	if (kinds && count_banned_v6(kinds, &ip->saddr, bytes))
		return XDP_DROP;
	// The key is read in the packet itself: there is nothing to copy.
	return count(&sources_v6, &ip->saddr, bytes);
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
		// `struct ethhdr` is packed, so that clang would read the type byte by byte.
		const __be16 *protocol = packet + offsetof(struct ethhdr, h_proto);
		const void *rest = protocol + 1;

		if (rest > end)
			return pass_with(NOTE_SHORT);
		// The usual ones first: looking for tags before costs each packet half a nanosecond.
		if (*protocol != bpf_htons(ETH_P_IP) && *protocol != bpf_htons(ETH_P_IPV6) && is_vlan(*protocol))
			return inspect_vlan(ctx, rest, end);
		return inspect_frame(ctx, rest, end, *protocol, ETH_HLEN);
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
