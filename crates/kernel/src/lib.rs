//! Linux's own parts: netlink (links, addresses, routes, WireGuard), nftables, sysctls and network namespaces.

pub mod generic;
pub mod netlink;
pub mod tc;
