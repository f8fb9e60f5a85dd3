// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0
//
// Values by prefix of an address; the longest counts. Who includes this says in VALUE of what type they are, and user space
// writes them.

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

#define PREFIXES(name, kind, entries, key_type)           \
	struct {                                          \
		__uint(type, kind);                       \
		__uint(map_flags, BPF_F_NO_PREALLOC);     \
		__uint(max_entries, entries);             \
		__type(key, key_type);                    \
		__type(value, VALUE);                     \
	} name SEC(".maps")

PREFIXES(hosts_v4, BPF_MAP_TYPE_HASH, HOSTS, __be32);
PREFIXES(hosts_v6, BPF_MAP_TYPE_HASH, HOSTS, struct in6_addr);
PREFIXES(nets_v4, BPF_MAP_TYPE_LPM_TRIE, NETS, struct net_v4);
PREFIXES(nets_v6, BPF_MAP_TYPE_LPM_TRIE, NETS, struct net_v6);

// Of an address with its whole length; NULL when no prefix covers it.
static __always_inline VALUE *of_v4(struct net_v4 *host)
{
	VALUE *value = bpf_map_lookup_elem(&hosts_v4, &host->address);

	return value ? value : bpf_map_lookup_elem(&nets_v4, host);
}

static __always_inline VALUE *of_v6(struct net_v6 *host)
{
	VALUE *value = bpf_map_lookup_elem(&hosts_v6, &host->address);

	return value ? value : bpf_map_lookup_elem(&nets_v6, host);
}
