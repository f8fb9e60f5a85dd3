// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0
//
// The floor of the benchmark: what a run costs that does nothing.

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
