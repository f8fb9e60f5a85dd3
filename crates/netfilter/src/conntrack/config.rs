//! Settings, with the kernel's names and defaults (`Documentation/networking/nf_conntrack-sysctl.rst`).

/// When connections are tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracking {
    /// All packets are.
    #[default]
    Always,
    /// Only while a rule of the family needs it, as in the kernel's namespaces (`nf_ct_netns_get`). Fragments are put
    /// together only then, or for rules that need but that (TPROXY).
    WhenNeeded,
}

/// Settings of connection tracking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// When connections are tracked.
    pub tracking: Tracking,
    /// `nf_conntrack_max`: connections in the table.
    pub max: u32,
    /// Expectations in all (`nf_conntrack_expect_max`).
    pub expect_max: u32,
    /// `nf_conntrack_acct`: packets and bytes are counted.
    pub acct: bool,
    /// `nf_conntrack_checksum`: packets with a wrong transport checksum are INVALID.
    pub checksum: bool,
    /// `nf_conntrack_tcp_loose`: a connection may be picked up in the middle.
    pub tcp_loose: bool,
    /// `nf_conntrack_tcp_be_liberal`: only RSTs out of the window are INVALID.
    pub tcp_be_liberal: bool,
    /// `nf_conntrack_tcp_ignore_invalid_rst`.
    pub tcp_ignore_invalid_rst: bool,
    /// `nf_conntrack_tcp_max_retrans`.
    pub tcp_max_retrans: u8,
    /// `nf_conntrack_frag_high_thresh` in bytes, of one family.
    pub fragment_memory: usize,
    /// Timeouts.
    pub timeouts: Timeouts,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            tracking: Tracking::Always,
            max: 262_144,
            expect_max: 4_096,
            acct: true,
            checksum: true,
            tcp_loose: true,
            tcp_be_liberal: false,
            tcp_ignore_invalid_rst: false,
            tcp_max_retrans: 3,
            fragment_memory: 4 << 20,
            timeouts: Timeouts::default(),
        }
    }
}

/// Timeouts in seconds, per protocol and state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's names say it")]
pub struct Timeouts {
    pub generic: u32,
    pub tcp_syn_sent: u32,
    pub tcp_syn_recv: u32,
    pub tcp_established: u32,
    pub tcp_fin_wait: u32,
    pub tcp_close_wait: u32,
    pub tcp_last_ack: u32,
    pub tcp_time_wait: u32,
    pub tcp_close: u32,
    pub tcp_max_retrans: u32,
    pub tcp_unacknowledged: u32,
    pub udp: u32,
    pub udp_stream: u32,
    pub icmp: u32,
    pub icmpv6: u32,
    pub sctp_closed: u32,
    pub sctp_cookie_wait: u32,
    pub sctp_cookie_echoed: u32,
    pub sctp_established: u32,
    pub sctp_shutdown_sent: u32,
    pub sctp_shutdown_recd: u32,
    pub sctp_shutdown_ack_sent: u32,
    pub sctp_heartbeat_sent: u32,
    pub dccp_request: u32,
    pub dccp_respond: u32,
    pub dccp_partopen: u32,
    pub dccp_open: u32,
    pub dccp_closereq: u32,
    pub dccp_closing: u32,
    pub dccp_timewait: u32,
    pub gre: u32,
    pub gre_stream: u32,
    pub frag: u32,
    pub frag6: u32,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        const MINUTE: u32 = 60;
        const DAY: u32 = 86_400;
        Timeouts {
            generic: 600,
            tcp_syn_sent: 2 * MINUTE,
            tcp_syn_recv: MINUTE,
            tcp_established: 5 * DAY,
            tcp_fin_wait: 2 * MINUTE,
            tcp_close_wait: MINUTE,
            tcp_last_ack: 30,
            tcp_time_wait: 2 * MINUTE,
            tcp_close: 10,
            tcp_max_retrans: 5 * MINUTE,
            tcp_unacknowledged: 5 * MINUTE,
            udp: 30,
            udp_stream: 2 * MINUTE,
            icmp: 30,
            icmpv6: 30,
            sctp_closed: 10,
            sctp_cookie_wait: 3,
            sctp_cookie_echoed: 3,
            sctp_established: 210,
            sctp_shutdown_sent: 3,
            sctp_shutdown_recd: 3,
            sctp_shutdown_ack_sent: 3,
            sctp_heartbeat_sent: 30,
            dccp_request: 4 * MINUTE,
            dccp_respond: 8 * MINUTE,
            dccp_partopen: 8 * MINUTE,
            dccp_open: DAY / 2,
            dccp_closereq: 64,
            dccp_closing: 64,
            dccp_timewait: 4 * MINUTE,
            gre: 30,
            gre_stream: 180,
            frag: 30,
            frag6: 60,
        }
    }
}
