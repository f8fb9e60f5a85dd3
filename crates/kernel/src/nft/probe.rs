//! A table of our own that lets the kernel trace chosen packets while a process looks at them.
//!
//! The table is owned by the socket it was made with (`NFT_TABLE_F_OWNER`, Linux 5.12): the kernel removes it when the process ends,
//! in whatever way, and nobody else can change it. Nothing in it decides over packets.

use fielato_wire::filter::{Literal, Network, Side, Test};
use fielato_wire::{Addr, Family};
use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::NFNL_SUBSYS_NFTABLES;
use super::element::{emit, header, nested, text};
use crate::netlink::{BatchMessage, Netlink, NetlinkError};

// linux/netfilter/nfnetlink.h
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
// linux/netfilter/nf_tables.h
const NFT_MSG_NEWTABLE: u16 = NFNL_SUBSYS_NFTABLES << 8;
const NFT_MSG_NEWCHAIN: u16 = (NFNL_SUBSYS_NFTABLES << 8) | 3;
const NFT_MSG_NEWRULE: u16 = (NFNL_SUBSYS_NFTABLES << 8) | 6;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFT_TABLE_F_OWNER: u32 = 2;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFT_JUMP: i32 = -3;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;
const NFT_META_IIF: u32 = 4;
const NFT_META_OIF: u32 = 5;
const NFT_META_NFTRACE: u32 = 12;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;

/// `NFPROTO_INET` and the hooks of its chains (linux/netfilter.h).
const INET: u8 = 1;
const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// Before `NF_IP_PRI_CONNTRACK_DEFRAG` (linux/netfilter_ipv4.h), the first of all: packets are as they came in.
const FIRST: i32 = -450;
/// Behind all others: who comes here has passed the rules.
const LAST: i32 = i32::MAX - 1;

/// The chain whose only rule marks packets. A trace in which it occurs is of a packet that this table chose.
pub const MARKING: &str = "choose";
/// The chains at the end: a packet that comes here has passed all rules.
pub const PASSED: [&str; 2] = ["passed_input", "passed_postrouting"];
/// The chain that sees packets as they came in.
pub const ARRIVED: &str = "arrived";

/// How many tables of this kind there may be at once.
const TABLES_MAX: u32 = 8;

/// Why packets can't be traced.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There are too many already.
    #[error("{TABLES_MAX} traces are running already; end one of them")]
    Busy,
    /// The kernel is too old, or has no such expression.
    #[error("this kernel can't trace for a single process (Linux 5.12 and nf_tables are needed): {0}")]
    Unsupported(#[source] NetlinkError),
    /// Anything else.
    #[error("cannot set up tracing: {0}")]
    Netlink(#[source] NetlinkError),
}

/// The table, which goes when this does.
pub struct Probe {
    name: String,
    _owner: Netlink,
}

/// What is to be traced.
#[derive(Debug, Clone)]
pub struct Chosen<'a> {
    /// Number of the tunnel's interface: packets that come in by it, and those that will leave by it.
    pub interface: u32,
    /// Lists of tests, of which one must hold as a whole.
    pub alternatives: &'a [Vec<Literal>],
    /// No more packets than this each second.
    pub per_second: u32,
}

impl Probe {
    /// Makes the table in the calling thread's network namespace, in one transaction.
    ///
    /// # Errors
    /// Any [`ProbeError`].
    pub fn open(chosen: &Chosen<'_>) -> Result<Self, ProbeError> {
        let mut netlink = Netlink::open_protocol(NETLINK_NETFILTER).map_err(ProbeError::Netlink)?;
        for number in 1..=TABLES_MAX {
            let name = format!("fielato_trace_{number}");
            match netlink.request_batch(&batch(&name, chosen)) {
                Ok(()) => return Ok(Self { name, _owner: netlink }),
                // There is one of that name, and it is somebody else's.
                Err(error) if matches!(error.errno(), Some(libc::EEXIST)) => {}
                Err(error)
                    if matches!(error.errno(), Some(libc::EPERM))
                        && super::table(super::Family::Inet, &name).is_ok_and(|known| known.is_some()) => {}
                Err(error) if matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOENT)) => {
                    return Err(ProbeError::Unsupported(error));
                }
                Err(error) => return Err(ProbeError::Netlink(error)),
            }
        }
        Err(ProbeError::Busy)
    }

    /// The table's name, in family `inet`.
    pub fn table(&self) -> &str {
        &self.name
    }
}

fn batch(table: &str, chosen: &Chosen<'_>) -> Vec<BatchMessage> {
    let Chosen {
        interface,
        alternatives,
        per_second,
    } = chosen;
    let mark = |message_type| BatchMessage {
        message_type,
        flags: 0,
        body: header(0, NFNL_SUBSYS_NFTABLES),
    };
    let mut batch = vec![mark(NFNL_MSG_BATCH_BEGIN)];
    batch.push(message(
        NFT_MSG_NEWTABLE,
        NLM_F_CREATE | NLM_F_EXCL,
        &[text(NFTA_TABLE_NAME, table), be32(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER)],
    ));
    batch.push(chain(table, MARKING, None));
    for (name, hook, priority) in [
        (ARRIVED, PREROUTING, FIRST),
        ("leaving", FORWARD, FIRST),
        ("sent", OUTPUT, FIRST),
        (PASSED[0], INPUT, LAST),
        (PASSED[1], POSTROUTING, LAST),
    ] {
        batch.push(chain(table, name, Some((hook, priority))));
    }
    batch.push(rule(table, MARKING, &choose(*per_second)));
    let is = |key, holds: bool| [meta(key), compare(holds, &interface.to_ne_bytes())];
    for literals in *alternatives {
        let tests: Vec<DefaultNla> = literals.iter().flat_map(test).chain([jump(MARKING)]).collect();
        let places = [
            (ARRIVED, is(NFT_META_IIF, true).to_vec()),
            // Those from the tunnel were chosen, or not, when they came in.
            ("leaving", [is(NFT_META_IIF, false), is(NFT_META_OIF, true)].concat()),
            ("sent", is(NFT_META_OIF, true).to_vec()),
        ];
        for (chain, place) in places {
            batch.push(rule(table, chain, &[place, tests.clone()].concat()));
        }
    }
    batch.push(mark(NFNL_MSG_BATCH_END));
    batch
}

fn message(message_type: u16, flags: u16, attributes: &[DefaultNla]) -> BatchMessage {
    let mut body = header(INET, 0);
    body.extend(emit(attributes));
    BatchMessage {
        message_type,
        flags: flags | NLM_F_ACK,
        body,
    }
}

/// A chain; a base chain of type `filter`, whose policy is to accept, when it has a place.
fn chain(table: &str, name: &str, place: Option<(u32, i32)>) -> BatchMessage {
    let mut attributes = vec![text(NFTA_CHAIN_TABLE, table), text(NFTA_CHAIN_NAME, name)];
    if let Some((hook, priority)) = place {
        let hook = [be32(NFTA_HOOK_HOOKNUM, hook), be32(NFTA_HOOK_PRIORITY, priority as u32)];
        attributes.push(nested(NFTA_CHAIN_HOOK, &hook));
        attributes.push(text(NFTA_CHAIN_TYPE, "filter"));
    }
    message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, &attributes)
}

fn rule(table: &str, chain: &str, expressions: &[DefaultNla]) -> BatchMessage {
    let attributes = [
        text(NFTA_RULE_TABLE, table),
        text(NFTA_RULE_CHAIN, chain),
        nested(NFTA_RULE_EXPRESSIONS, expressions),
    ];
    message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, &attributes)
}

/// Within the limit, traces the packet from here on.
fn choose(per_second: u32) -> Vec<DefaultNla> {
    let limit = [
        // Rate, seconds, burst.
        DefaultNla::new(1, u64::from(per_second).to_be_bytes().to_vec()),
        DefaultNla::new(2, 1_u64.to_be_bytes().to_vec()),
        be32(3, per_second.clamp(1, 100)),
    ];
    vec![
        expression("limit", &limit),
        // Register, value.
        expression("immediate", &[be32(1, NFT_REG_1), value(2, &[1])]),
        // Key, source register.
        expression("meta", &[be32(2, NFT_META_NFTRACE), be32(3, NFT_REG_1)]),
    ]
}

fn test(literal: &Literal) -> Vec<DefaultNla> {
    let Literal { test, holds } = literal;
    match test {
        Test::Family(family) => vec![meta(NFT_META_NFPROTO), compare(*holds, &[nfproto(*family)])],
        Test::Protocol(protocol) => vec![meta(NFT_META_L4PROTO), compare(*holds, &[*protocol])],
        Test::Address(side, network) => address(*side, network, *holds),
        Test::Port(side, first, last) => {
            let offset = match side {
                Side::Source => 0,
                Side::Destination => 2,
            };
            // Register, operation, first and last.
            let between = [
                be32(1, NFT_REG_1),
                be32(2, if *holds { NFT_CMP_EQ } else { NFT_CMP_NEQ }),
                value(3, &first.to_be_bytes()),
                value(4, &last.to_be_bytes()),
            ];
            vec![
                payload(NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2),
                expression("range", &between),
            ]
        }
    }
}

/// The family stands in a test of its own.
fn address(side: Side, network: &Network, holds: bool) -> Vec<DefaultNla> {
    let offset = match (network.family, side) {
        (Family::V4, Side::Source) => 12,
        (Family::V4, Side::Destination) => 16,
        (Family::V6, Side::Source) => 8,
        (Family::V6, Side::Destination) => 24,
    };
    let bytes = network.family.bytes();
    let plain = |address: Addr| {
        let mut plain = vec![0; bytes];
        address.write(&mut plain);
        plain
    };
    let mut expressions = vec![payload(NFT_PAYLOAD_NETWORK_HEADER, offset, bytes as u32)];
    if network.len < network.family.bits() {
        // From and to register, length, mask, exclusive or.
        let mask = [
            be32(1, NFT_REG_1),
            be32(2, NFT_REG_1),
            be32(3, bytes as u32),
            value(4, &plain(Addr::mask(network.family, network.len))),
            value(5, &plain(Addr::ZERO)),
        ];
        expressions.push(expression("bitwise", &mask));
    }
    expressions.push(compare(holds, &plain(network.address)));
    expressions
}

/// `NFPROTO_*` (linux/netfilter.h).
fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn meta(key: u32) -> DefaultNla {
    // Register, key.
    expression("meta", &[be32(1, NFT_REG_1), be32(2, key)])
}

fn payload(base: u32, offset: u32, len: u32) -> DefaultNla {
    // Register, base, offset, length.
    expression("payload", &[be32(1, NFT_REG_1), be32(2, base), be32(3, offset), be32(4, len)])
}

fn compare(equal: bool, with: &[u8]) -> DefaultNla {
    let operation = if equal { NFT_CMP_EQ } else { NFT_CMP_NEQ };
    // Register, operation, value.
    expression("cmp", &[be32(1, NFT_REG_1), be32(2, operation), value(3, with)])
}

fn jump(chain: &str) -> DefaultNla {
    let verdict = [be32(NFTA_VERDICT_CODE, NFT_JUMP as u32), text(NFTA_VERDICT_CHAIN, chain)];
    let data = nested(2, &[nested(NFTA_DATA_VERDICT, &verdict)]);
    expression("immediate", &[be32(1, NFT_REG_VERDICT), data])
}

fn expression(name: &str, data: &[DefaultNla]) -> DefaultNla {
    nested(NFTA_LIST_ELEM, &[text(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, data)])
}

fn value(kind: u16, bytes: &[u8]) -> DefaultNla {
    nested(kind, &[DefaultNla::new(NFTA_DATA_VALUE, bytes.to_vec())])
}

fn be32(kind: u16, number: u32) -> DefaultNla {
    DefaultNla::new(kind, number.to_be_bytes().to_vec())
}
