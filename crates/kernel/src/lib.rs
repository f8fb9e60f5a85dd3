//! Linux's own parts: netlink (links, addresses, routes, WireGuard), nftables, sysctls and network namespaces.

pub mod address;
pub mod detect;
pub mod generic;
pub mod link;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod route;
pub mod sysctl;
pub mod wireguard;
