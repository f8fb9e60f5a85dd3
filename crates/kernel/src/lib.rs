//! Linux's own parts: netlink (links, addresses, routes, WireGuard), nftables, tc, the XDP guard, sysctls and network
//! namespaces.

pub mod address;
pub mod conntrack;
pub mod detect;
pub mod generic;
pub mod guard;
pub mod legacy;
pub mod link;
pub mod memory;
pub mod netlink;
pub mod netns;
pub mod nfqueue;
pub mod nft;
pub mod packet;
pub mod peer_packets;
pub mod route;
pub mod sysctl;
pub mod tc;
pub mod wireguard;
