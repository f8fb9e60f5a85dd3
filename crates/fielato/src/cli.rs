//! The command line: names, options, help. What they do is in [`commands`](crate::commands).

mod applying;
mod judging;
mod lab;

use std::path::PathBuf;

pub use applying::{Apply, By, GrantArgs, Log, Revoke, Rollback, Show, Since, UsageArgs, Way};
pub use judging::{Can, Check, Matrix, Plan, Test, WhoCan};
pub use lab::{Drills, Lab, LabEngine, Talk};

use applying::{APPLY_EXAMPLES, ROLLBACK_EXAMPLES, USAGE_EXAMPLES};
use judging::{CAN_EXAMPLES, CHECK_EXAMPLES, MATRIX_EXAMPLES, PLAN_EXAMPLES, TEST_EXAMPLES, WHO_CAN_EXAMPLES};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed, or a check did not pass; 2 wrong usage, or a configuration that is refused; 4 not running.";

const DEVICE_EXAMPLES: &str = "\
Examples:
  fielato device --background wg0 && wg setconf wg0 wg0.conf && ip link set wg0 up
  WG_QUICK_USERSPACE_IMPLEMENTATION=fielato wg-quick up wg0

wg-quick runs `fielato wg0` where the kernel has no WireGuard. With that variable set, `fielato [-f] INTERFACE` is short for
`fielato device [--background] INTERFACE`, unless the interface has the name of a command; called by the name wireguard-fielato,
the program does nothing else. The device ends on SIGTERM, and when its interface or its socket in /var/run/wireguard is removed.";

const TRACE_EXAMPLES: &str = "\
Examples:
  fielato trace --from alice --to storage:1094/tcp
  fielato trace --from alice --to storage --reply --explain
  fielato trace --from 192.168.4.2 --by eth0 --to storage        (a forged packet)
  fielato trace --from 203.0.113.7 --to '[2001:db8::4]:53/udp' --state established
  fielato trace --packet what-happened.pcap --json
  fielato trace --live member alice                              (real packets, until Ctrl-C)
  fielato trace --live 'dst service files and not icmp' -c 10 --json

FILTER has the words of `fielato capture`'s.

Exit codes: 0 it passes; 1 it would be stopped; 2 the question has no sense here.";

const CAPTURE_HELP: &str = "\
Examples:
  fielato capture -w /tmp/tunnel.pcapng
  fielato capture --clear 'member alice and tcp port 443' -c 100 -w - | tcpdump -n -r -

FILTER is a part of tcpdump's language:
  [src|dst] host ADDRESS            [src|dst] net ADDRESS/LENGTH
  [tcp|udp|sctp] [src|dst] port NUMBER[-NUMBER]
  ip  ip6  tcp  udp  sctp  icmp  icmp6  proto NUMBER
  [src|dst] member NAME             [src|dst] service NAME
joined by `and`, `or`, `not` and brackets; `and` and `or` bind equally, from left to right.";

const TC_EXAMPLES: &str = "\
Examples:
  fielato tc qdisc add dev wg0 root netem delay 500ms
  fielato tc -s qdisc show dev wg0
  fielato tc qdisc del dev wg0 root

The words are tc's, the devices the hub's interface and its uplink. A change holds until the next `fielato reload`, which puts
back what [[shape]] says.";

/// A WireGuard hub through which a small organisation's outside connections pass.
#[derive(Debug, Parser)]
#[command(name = "fielato", version, after_help = EXIT_CODES, max_term_width = 120)]
pub struct Cli {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "FIELATO_CONFIG",
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
    /// Put DIR before /etc/fielato, /var/lib/fielato and /run/fielato, for labs and tests
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "FIELATO_ROOT",
        help_heading = "Global options"
    )]
    pub root: Option<PathBuf>,
    /// As an ordinary user: the folders are ~/.config/fielato, ~/.local/state/fielato and $XDG_RUNTIME_DIR/fielato, and what
    /// needs root is done without
    #[arg(long, global = true, help_heading = "Global options")]
    pub rootless: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write keys and a commented configuration for this machine
    #[command(after_help = "Example:\n  fielato init --endpoint vpn.example.org:51820")]
    Init(Init),
    /// Add, show, change and remove members
    #[command(subcommand)]
    Member(Member),
    /// Turn an existing wg-quick hub configuration into a fielato.toml
    #[command(after_help = "Example:\n  fielato import /etc/wireguard/wg0.conf")]
    Import(Import),
    /// Bring the hub up
    #[command(
        after_help = "Examples:\n  fielato up\n  fielato up --foreground     (for a service manager: Type=notify, SIGHUP reloads)\n  fielato up --rootless       (as an ordinary user: only a UDP port is opened)"
    )]
    Up(Up),
    /// Take the hub down and put the machine back as it was
    #[command(after_help = "Example:\n  fielato down")]
    Down,
    /// Read the configuration again and change only what changed
    #[command(after_help = "Example:\n  fielato member add alice && fielato reload")]
    Reload(Json),
    /// Put the file's policy in force, and take it back unless it is confirmed
    #[command(after_help = APPLY_EXAMPLES)]
    Apply(Apply),
    /// Say that the policy applied last is right: it stays
    #[command(after_help = "Example:\n  fielato apply --confirm 60s && fielato confirm")]
    Confirm,
    /// Take back a policy that waits to be confirmed, or go back to an earlier one
    #[command(after_help = ROLLBACK_EXAMPLES)]
    Rollback(Rollback),
    /// List the policies that were applied: by whom, when, what for
    #[command(after_help = "Examples:\n  fielato log\n  fielato log -n 100 --json")]
    Log(Log),
    /// Show a policy that was applied, and what it changed
    #[command(after_help = "Examples:\n  fielato show            (the one in force)\n  fielato show 12 --text > before.toml")]
    Show(Show),
    /// Let a member reach a service for a while
    #[command(after_help = "Example:\n  fielato grant alice storage --for 2h --reason 'moving the archive'")]
    Grant(GrantArgs),
    /// End a grant before its time
    #[command(after_help = "Example:\n  fielato revoke alice storage")]
    Revoke(Revoke),
    /// List the grants
    #[command(after_help = "Example:\n  fielato grants --json")]
    Grants(Json),
    /// Show what members have sent and received
    #[command(after_help = USAGE_EXAMPLES)]
    Usage(UsageArgs),
    /// Bring the hub back should the daemon die; started by the daemon
    #[command(
        hide = true,
        after_help = "Example:\n  fielato watchdog up --applied     (its standard input ends with the daemon)"
    )]
    Watchdog(Words),
    /// Show the hub and its members
    #[command(
        after_help = "Examples:\n  fielato status\n  fielato status --json | jq '.members[] | select(.latest_handshake == null) | .name'"
    )]
    Status(Json),
    /// Print what would be applied to the hub, a protected host or a member
    #[command(
        after_help = "Examples:\n  fielato render hub --format nft\n  fielato render storage --format iptables\n  fielato render alice --format wg-quick"
    )]
    Render(Render),
    /// Tell whether a packet would pass, and what decides: nothing is sent
    #[command(after_help = TRACE_EXAMPLES)]
    Trace(Trace),
    /// Check the configuration: whether it is valid, and what about it is strange
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Show what would change, on which machine
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Plan),
    /// Tell whether somebody reaches something, and which rule decides: nothing is sent
    #[command(after_help = CAN_EXAMPLES)]
    Can(Can),
    /// Tell which members reach something
    #[command(after_help = WHO_CAN_EXAMPLES)]
    WhoCan(WhoCan),
    /// Show which member reaches which service
    #[command(after_help = MATRIX_EXAMPLES)]
    Matrix(Matrix),
    /// Judge every [[test]] of the configuration, along the whole way and back
    #[command(after_help = TEST_EXAMPLES)]
    Test(Test),
    /// Refuse packets from an address or network, before anything else sees them
    #[command(after_help = "Examples:\n  fielato ban 192.168.4.3\n  fielato ban 2001:db8::/32 --for 1h")]
    Ban(Ban),
    /// End a ban
    #[command(after_help = "Example:\n  fielato unban 192.168.4.3")]
    Unban(Unban),
    /// List the bans and what they have stopped
    #[command(after_help = "Example:\n  fielato bans --json")]
    Bans(Json),
    /// Count packets and bytes per source address, refreshed each second
    #[command(after_help = "Examples:\n  fielato top\n  fielato top --once --json")]
    Top(Top),
    /// Look at traffic shaping
    #[command(subcommand)]
    Shape(Shape),
    /// Manage protected hosts
    #[command(subcommand)]
    Host(Host),
    /// On a protected host: enforce what the hub plans for it
    #[command(subcommand)]
    Agent(Agent),
    /// Write real packets to a capture file: within the tunnel, encrypted, or both
    #[command(after_help = CAPTURE_HELP)]
    Capture(Capture),
    /// Change and show queueing disciplines, classes and filters of the running hub, in tc's words
    #[command(disable_help_flag = true, after_help = TC_EXAMPLES)]
    Tc(Words),
    /// Run three machines in network namespaces, and show the gateway at work on them
    #[command(subcommand)]
    Lab(Lab),
    /// Run our user-space WireGuard device, configured with `wg` or `wg-quick`
    #[command(after_help = DEVICE_EXAMPLES)]
    Device(Device),
    #[command(flatten)]
    Iptables(Iptables),
    /// Print a shell's completion script
    #[command(
        hide = true,
        after_help = "Example:\n  fielato completions bash > /usr/share/bash-completion/completions/fielato"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    #[command(hide = true, after_help = "Example:\n  fielato man /usr/share/man/man8")]
    Man {
        /// Where to
        dir: PathBuf,
    },
}

/// The iptables programs. Their words are their own: `fielato iptables -h` prints their help.
#[derive(Debug, Subcommand)]
#[expect(clippy::enum_variant_names, reason = "they are the programs' names")]
pub enum Iptables {
    /// Change and list IPv4 rules, in the language of iptables
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  FIELATO_RULESET=/tmp/rules fielato iptables -A INPUT -p tcp --dport 22 -j ACCEPT"
    )]
    Iptables(Words),
    /// Print IPv4 rules as a save file
    #[command(disable_help_flag = true, after_help = "Example:\n  fielato iptables-save -c > rules")]
    IptablesSave(Words),
    /// Read IPv4 rules from a save file
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  fielato iptables-restore --test < rules"
    )]
    IptablesRestore(Words),
    /// Change, list and check rules in the language of Linux 2.2
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  fielato ipchains --print -A input -p tcp -d 0/0 23 -j DENY"
    )]
    Ipchains(Words),
    /// Print rules as ipchains commands
    #[command(disable_help_flag = true, after_help = "Example:\n  fielato ipchains-save > rules")]
    IpchainsSave(Words),
    /// Read rules from what ipchains-save printed
    #[command(disable_help_flag = true, after_help = "Example:\n  fielato ipchains-restore < rules")]
    IpchainsRestore(Words),
    /// Change and list rules in the language of Linux 2.0
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  fielato ipfwadm -I -a deny -P tcp -D 0/0 23"
    )]
    Ipfwadm(Words),
    /// Say an iptables command in nft's words
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  fielato iptables-translate -A INPUT -p tcp --dport 22 -j ACCEPT"
    )]
    IptablesTranslate(Words),
    /// Turn an IPv4 save file into one for nft
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  fielato iptables-restore-translate -f rules | nft -f -"
    )]
    IptablesRestoreTranslate(Words),
    /// Print a save file as XML
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  fielato iptables-save | fielato iptables-xml"
    )]
    IptablesXml(Words),
    /// Change and list IPv6 rules, in the language of ip6tables
    #[command(disable_help_flag = true, after_help = "Example:\n  fielato ip6tables -S FORWARD")]
    Ip6tables(Words),
    /// Print IPv6 rules as a save file
    #[command(disable_help_flag = true, after_help = "Example:\n  fielato ip6tables-save -t raw")]
    Ip6tablesSave(Words),
    /// Read IPv6 rules from a save file
    #[command(disable_help_flag = true, after_help = "Example:\n  fielato ip6tables-restore -n < rules")]
    Ip6tablesRestore(Words),
    /// Say an ip6tables command in nft's words
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  fielato ip6tables-translate -A INPUT -s fe80::/10 -j ACCEPT"
    )]
    Ip6tablesTranslate(Words),
    /// Turn an IPv6 save file into one for nft
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  fielato ip6tables-restore-translate -f rules6 | nft -f -"
    )]
    Ip6tablesRestoreTranslate(Words),
}

#[derive(Debug, Args)]
pub struct Words {
    /// As iptables takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    pub words: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub struct Json {
    /// Print JSON, with a `version` field
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Init {
    /// Name or address, and port, at which members reach this machine [default: the uplink's address and port 51820]
    #[arg(long, value_name = "HOST:PORT")]
    pub endpoint: Option<String>,
    /// Name of the WireGuard interface
    #[arg(long, default_value = "wg0")]
    pub interface: String,
    /// The overlay's network, once for each family [default: a free private IPv4 /24 and a random IPv6 /64]
    #[arg(long, value_name = "NETWORK")]
    pub overlay: Vec<IpNet>,
    /// The interface towards the outside [default: that of the default route]
    #[arg(long)]
    pub uplink: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Member {
    /// Add a member with the next free address
    #[command(
        after_help = "Examples:\n  fielato member add alice --group staff\n  fielato member add bob --public-key \"$(cat bob.pub)\""
    )]
    Add(MemberAdd),
    /// List the members
    #[command(after_help = "Example:\n  fielato member list --json")]
    List(Json),
    /// Show one member
    #[command(after_help = "Example:\n  fielato member show alice")]
    Show {
        /// The member
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// Print a member's wg-quick file
    #[command(after_help = "Examples:\n  fielato member config alice > alice.conf\n  fielato member config alice --qr")]
    Config(MemberConfig),
    /// Remove a member and its keys
    #[command(after_help = "Example:\n  fielato member remove alice && fielato reload")]
    Remove {
        /// The member
        name: String,
    },
    /// Keep a member in the file, but not as a peer
    #[command(after_help = "Example:\n  fielato member disable alice && fielato reload")]
    Disable {
        /// The member
        name: String,
    },
    /// Make a disabled member a peer again
    #[command(after_help = "Example:\n  fielato member enable alice && fielato reload")]
    Enable {
        /// The member
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct MemberAdd {
    /// Letters, digits, `_`, `-`, `.`
    pub name: String,
    /// A group to be in; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// The member's own public key; without it a key pair is made here
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<String>,
    /// Make no pre-shared key (one protects recorded traffic against a quantum computer of later years)
    #[arg(long)]
    pub no_psk: bool,
}

#[derive(Debug, Args)]
pub struct MemberConfig {
    /// The member
    pub name: String,
    /// Draw a QR code for the phone application
    #[arg(long)]
    pub qr: bool,
    /// Tunnel only the lab, whatever the member's `route` says
    #[arg(long)]
    pub split: bool,
}

#[derive(Debug, Args)]
pub struct Import {
    /// A wg-quick file; its name is the interface's
    pub file: PathBuf,
    /// Name or address, and port, at which members reach this machine [default: the uplink's address and the file's port]
    #[arg(long, value_name = "HOST:PORT")]
    pub endpoint: Option<String>,
    /// Print the configuration and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum Host {
    /// Make a token, with which a host can become one once, within an hour
    #[command(
        after_help = "Examples:\n  fielato host enrol storage -o token\n  fielato host enrol storage | ssh root@storage fielato agent enrol -"
    )]
    Enrol {
        /// The host, which has a [host.NAME] in the configuration
        name: String,
        /// Write the token here instead of to standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Agent {
    /// Enforce the last plan that came, then what the hub says, until stopped; the rules stay
    #[command(
        after_help = "Examples:\n  fielato agent run                              (after `fielato agent enrol`)\n  fielato agent run --hub 192.168.4.1 --interface wg0   (on a host that is a member by other means)"
    )]
    Run(AgentRun),
    /// Make this machine a protected host, with a token of the hub's
    #[command(
        after_help = "Examples:\n  fielato agent enrol /root/token\n  ssh hub fielato host enrol storage | fielato agent enrol -"
    )]
    Enrol {
        /// The file that `fielato host enrol` wrote, or - for standard input
        token: PathBuf,
    },
    /// Show what is enforced here
    #[command(after_help = "Example:\n  fielato agent status --json")]
    Status(Json),
    /// Take the rules away and put back what was changed: the host is open then, but for other rules on it
    #[command(after_help = "Example:\n  systemctl stop fielato-agent && fielato agent remove")]
    Remove,
}

#[derive(Debug, Args)]
pub struct AgentRun {
    /// The hub's overlay address, with the control port if it is not 51821; may be repeated [default: as enrolled]
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub hub: Vec<String>,
    /// The WireGuard interface towards the hub [default: as enrolled, else wg0]
    #[arg(long)]
    pub interface: Option<String>,
    /// The host's name in the hub's configuration; the hub goes by its address, so this only finds mistakes
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct Up {
    /// Stay in the foreground
    #[arg(long)]
    pub foreground: bool,
    /// With the policy that was applied last, whatever the file says now (for a service manager: an edit that nobody has applied
    /// is not in force after a reboot)
    #[arg(long)]
    pub applied: bool,
    /// Who judges and moves packets [default: what the configuration says]
    #[arg(long, value_enum)]
    pub engine: Option<Engine>,
    /// Whose WireGuard, with the kernel engine; the other has its own
    #[arg(long, value_enum, default_value_t = Wireguard::Auto)]
    pub wireguard: Wireguard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The kernel where it can do all that the configuration asks for, else the user-space engine
    Auto,
    /// nftables, tc and XDP
    Kernel,
    /// One process
    Userspace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wireguard {
    /// The kernel's where there is one, else our own
    Auto,
    /// The kernel's
    Kernel,
    /// Our own device on a TUN
    Userspace,
}

#[derive(Debug, Args)]
pub struct Render {
    /// `hub`, a host or a member
    pub machine: String,
    /// In which form [default: nft for the hub and hosts, wg-quick for members]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One nftables transaction
    Nft,
    /// iptables and ip6tables commands
    Iptables,
    /// A wg-quick file
    WgQuick,
    /// A shell script that does it by hand
    Script,
}

#[derive(Debug, Args)]
pub struct Trace {
    /// Who sends: a member, a host, `hub`, `internet` or an address
    #[arg(long, value_name = "NAME|ADDRESS", required_unless_present_any = ["packet", "live"])]
    pub from: Option<String>,
    /// Where to: a service, a host, a member, `hub`, `internet` or an address; behind a colon PORT/tcp, PORT/udp, icmp, icmp/TYPE or
    /// ip/NUMBER [default: a service's first port, else a ping]
    #[arg(long, value_name = "NAME|ADDRESS[:PORT/PROTOCOL]", required_unless_present_any = ["packet", "live"])]
    pub to: Option<String>,
    /// What the packet's source says, when it is not the sender's address
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<std::net::IpAddr>,
    /// The interface by which it reaches the hub, when it is not the one that the sender's address says
    #[arg(long, value_name = "INTERFACE")]
    pub by: Option<String>,
    /// The source port [default: 40000]
    #[arg(long, value_name = "PORT")]
    pub sport: Option<u16>,
    /// Whether a connection begins with the packet or goes on
    #[arg(long, value_enum, default_value_t = TraceState::New)]
    pub state: TraceState,
    /// IPv4, where both ends have both
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6, where both ends have both
    #[arg(short = '6')]
    pub ipv6: bool,
    /// Every packet of a capture (pcap or pcapng), in order, instead of one that is made for the question
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "source", "by", "sport", "state", "ipv4", "ipv6"])]
    pub packet: Option<PathBuf>,
    /// Trace the answer, too
    #[arg(long)]
    pub reply: bool,
    #[command(flatten)]
    pub live: Live,
    /// In sentences, with the packet's layers and sizes
    #[arg(long, conflicts_with = "json")]
    pub explain: bool,
    /// Print JSON, with a `version` field
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceState {
    /// The first packet of a connection
    New,
    /// A later one, of a connection that has been answered
    Established,
}

#[derive(Debug, Args)]
pub struct Ban {
    /// An address or a network
    #[arg(value_parser = parse_network, value_name = "ADDR[/N]")]
    pub network: IpNet,
    /// How long, for instance 90s, 15m, 1h, 7d [default: until `unban`]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<jiff::SignedDuration>,
}

#[derive(Debug, Args)]
pub struct Unban {
    /// An address or a network, as it was banned
    #[arg(value_parser = parse_network, value_name = "ADDR[/N]")]
    pub network: IpNet,
}

#[derive(Debug, Args)]
pub struct Top {
    /// Print once and end
    #[arg(long)]
    pub once: bool,
    /// Print JSON, with a `version` field; one line a second without `--once`
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Shape {
    /// Show the queueing disciplines and classes with their statistics
    #[command(after_help = "Example:\n  fielato shape show")]
    Show(Json),
}

/// What `--live` takes.
#[derive(Debug, Args)]
pub struct Live {
    /// Follow real packets on the running hub, until Ctrl-C
    #[arg(long, conflicts_with_all = ["from", "to", "source", "by", "sport", "state", "ipv4", "ipv6", "packet", "reply", "explain"])]
    pub live: bool,
    /// With --live: which packets within the tunnel [default: all]
    #[arg(value_name = "FILTER", requires = "live")]
    pub filter: Vec<String>,
    /// With --live: trace no more packets than this each second
    #[arg(long, value_name = "N", requires = "live", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// With --live: end after this time, for instance 90s, 15m, 1h
    #[arg(long = "for", value_name = "TIME", requires = "live", value_parser = parse_duration)]
    pub duration: Option<jiff::SignedDuration>,
    /// With --live: end after so many packets
    #[arg(short = 'c', long, value_name = "COUNT", requires = "live", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("side").multiple(false))]
pub struct Capture {
    /// Packets within the tunnel, as the rules see them
    #[arg(long, group = "side")]
    pub clear: bool,
    /// WireGuard's packets on the uplink
    #[arg(long, group = "side")]
    pub cipher: bool,
    /// Both, as two interfaces of one file [default]
    #[arg(long, group = "side")]
    pub both: bool,
    /// Which packets [default: all]. Of encrypted packets it sees the outer headers; a member is then its endpoint
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
    /// End after so many packets
    #[arg(short = 'c', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this time, for instance 90s, 15m, 1h [default: until Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<jiff::SignedDuration>,
    /// Bytes kept of each packet; 0 for all
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub snaplen: u32,
    /// Say of no more packets a second what became of them, and which rule decided; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub explained: u32,
    /// The file, or `-` for standard output
    #[arg(short = 'w', long, value_name = "FILE")]
    pub write: PathBuf,
}

#[derive(Debug, Args)]
pub struct Device {
    /// Name of the interface to make
    pub interface: String,
    /// MTU of the interface
    #[arg(long, default_value_t = DEVICE_MTU)]
    pub mtu: u16,
    /// Return when the device is ready, and leave it running
    #[arg(long)]
    pub background: bool,
    /// Threads that encrypt and decrypt, 1 to 16 [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub workers: Option<u16>,
    /// Make an interface without superpackets, for a kernel that refuses them: slower
    #[arg(long)]
    pub no_offloads: bool,
}

/// What fits a path of 1,500 bytes over IPv6: 40 for its header, 8 for UDP's, 32 for WireGuard's (the Linux driver's MTU).
pub const DEVICE_MTU: u16 = 1420;

fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<std::net::IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text
            .parse::<IpNet>()
            .map_err(|_| "not an address or network, like 192.168.4.3, 10.0.0.0/8 or 2001:db8::/32".to_string())?,
    };
    Ok(network.trunc())
}

fn parse_duration(text: &str) -> Result<jiff::SignedDuration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .or_else(|_| days(text))
        .map_err(|_: ()| "not a time, like 90s, 15m, 1h, 1h30m or 7d".to_string())?;
    match duration.is_positive() {
        true => Ok(duration),
        false => Err("that is no time at all".into()),
    }
}

/// jiff's durations end at hours, since a day has not always 24 of them; ours have.
fn days(text: &str) -> Result<jiff::SignedDuration, ()> {
    let days: i64 = text.strip_suffix('d').ok_or(())?.trim().parse().map_err(drop)?;
    days.checked_mul(24)
        .map(jiff::SignedDuration::from_hours)
        .filter(|_| days < 365_000)
        .ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with("Example"), "{path} has no example");
            }
            command.get_subcommands().for_each(|sub| check(sub, &path));
        }
        check(&Cli::command(), "");
    }

    #[test]
    fn networks_and_times() {
        assert_eq!(parse_network("192.168.4.3").unwrap().to_string(), "192.168.4.3/32");
        assert_eq!(parse_network("fd00::1/64").unwrap().to_string(), "fd00::/64");
        assert!(parse_network("300.1.1.1").is_err());
        assert_eq!(parse_duration("1h").unwrap(), jiff::SignedDuration::from_hours(1));
        assert_eq!(parse_duration("7d").unwrap(), jiff::SignedDuration::from_hours(168));
        assert!(parse_duration("-1h").is_err());
        assert!(parse_duration("soon").is_err());
    }
}
