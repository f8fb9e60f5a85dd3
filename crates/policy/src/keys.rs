//! Every key of the file, once: the parser knows these, and the JSON Schema is made from them.

/// A key of a table.
pub(crate) struct Key {
    pub name: &'static str,
    pub value: Value,
    pub needed: bool,
    /// What it means, for editors.
    pub about: &'static str,
}

/// What a key can have as its value.
pub(crate) enum Value {
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    Texts,
    TextOrTexts,
    Flag,
    /// A whole number within these bounds.
    Number(u32, u32),
    /// A date and time with offset, bare or as a text.
    Time,
    Table(&'static [Key]),
    /// `[[key]]`
    List(&'static [Key]),
    TableOrList(&'static [Key]),
    /// `[key.NAME]`
    Named(&'static [Key]),
}

const fn key(name: &'static str, value: Value, about: &'static str) -> Key {
    Key {
        name,
        value,
        needed: false,
        about,
    }
}

const fn needed(name: &'static str, value: Value, about: &'static str) -> Key {
    Key {
        needed: true,
        ..key(name, value, about)
    }
}

pub(crate) const TOP: &[Key] = &[
    key(
        "include",
        Value::TextOrTexts,
        "Further files, by patterns such as \"rules.d/*.toml\"",
    ),
    key("hub", Value::Table(HUB), "The machine that all connections cross"),
    key("member", Value::Named(MEMBER), "Machines and people with a WireGuard key"),
    key("group", Value::Named(GROUP), "Groups of members and hosts"),
    key("host", Value::Named(HOST), "Protected machines"),
    key("service", Value::Named(SERVICE), "Ports on hosts"),
    key(
        "rule",
        Value::List(RULE),
        "Who may reach what; the first that matches decides",
    ),
    key("shape", Value::List(SHAPE), "Disciplines and classes in tc's words"),
    key(
        "ban",
        Value::List(BAN),
        "Addresses whose packets are dropped before anything else",
    ),
    key("nat", Value::Table(NAT), "Masquerading and published ports"),
    key("raw", Value::Table(RAW), "Rules in iptables' words"),
    key("test", Value::List(TEST), "What the policy is to do"),
];

pub(crate) const HUB: &[Key] = &[
    needed("interface", Value::Text, "Name of the WireGuard interface"),
    needed("endpoint", Value::Text, "HOST:PORT as members dial it"),
    needed(
        "addresses",
        Value::Texts,
        "The hub's overlay addresses with the overlay's prefix lengths",
    ),
    needed(
        "uplink",
        Value::Text,
        "The interface towards the protected hosts and the outside",
    ),
    key("listen_port", Value::Number(1, 65535), "UDP port"),
    key("mtu", Value::Number(576, 65535), "MTU of the interface"),
    key("dns", Value::Texts, "Name servers for members' files"),
    key("lab", Value::Texts, "Networks behind the hub"),
    key(
        "source",
        Value::TextOrTexts,
        "The hub's addresses as protected hosts see them",
    ),
    key(
        "masquerade",
        Value::Flag,
        "Whether what leaves the VPN takes the hub's address",
    ),
    key(
        "transit",
        Value::Word(&["auto", "drop", "leave"]),
        "What happens to forwarded packets that are not the VPN's",
    ),
    key("guard", Value::Table(GUARD), "The XDP guard"),
    key(
        "engine",
        Value::Word(&["auto", "kernel", "userspace"]),
        "Who judges and moves packets",
    ),
    key(
        "exit",
        Value::Word(&["proxy", "packet"]),
        "How the user-space engine reaches what lies behind the hub",
    ),
    key(
        "packet",
        Value::Table(PACKET),
        "An interface of the hub's own, for exit = \"packet\"",
    ),
    key(
        "control_port",
        Value::Number(1, 65535),
        "TCP port on the overlay at which protected hosts' agents reach the hub",
    ),
];

pub(crate) const GUARD: &[Key] = &[
    key("enabled", Value::Flag, "Attach to the WireGuard interface"),
    key("uplink", Value::Flag, "Attach to the uplink too"),
    // Bounded so that a slip of the keyboard does not ask the kernel for all its memory.
    key(
        "sources",
        Value::Number(1, 4_194_304),
        "How many sources are counted at once in each family",
    ),
];

pub(crate) const PACKET: &[Key] = &[
    needed("interface", Value::Text, "An interface that nobody else uses"),
    needed(
        "addresses",
        Value::Texts,
        "The hub's addresses there, with the networks' prefix lengths",
    ),
    key(
        "gateway",
        Value::TextOrTexts,
        "The router to what is further away, one per family",
    ),
];

const RATE: Key = key("rate", Value::Text, "Guaranteed in each direction, such as \"10mbit\"");
const CEIL: Key = key("ceil", Value::Text, "What may be reached while others leave room");
const PRIORITY: Key = key(
    "priority",
    Value::Number(0, 7),
    "Who is offered the room that others leave: the lowest first",
);
const QUOTA: Key = key("quota", Value::Text, "How much in a period, such as \"50GB/month\"");
const OVER: Key = key(
    "over",
    Value::Text,
    "What follows when the quota is used up: \"block\", or \"throttle 1mbit\"",
);

pub(crate) const MEMBER: &[Key] = &[
    needed("addresses", Value::Texts, "Overlay addresses, one per family"),
    needed(
        "public_key",
        Value::Text,
        "44 characters of base64, as `wg pubkey` prints them",
    ),
    key("groups", Value::Texts, "Groups it is in"),
    key(
        "route",
        Value::TextOrTexts,
        "What goes through the tunnel: \"lab\", \"all\" or a list of networks",
    ),
    key("keepalive", Value::Number(1, 65535), "Seconds between keepalives"),
    key("expires", Value::Time, "Not a peer from then on"),
    key("disabled", Value::Flag, "Not a peer while true"),
    RATE,
    CEIL,
    PRIORITY,
    QUOTA,
    OVER,
];

pub(crate) const GROUP: &[Key] = &[
    key("groups", Value::Texts, "Groups whose members and hosts are in this one too"),
    key("members", Value::Texts, "Members in it"),
    key("hosts", Value::Texts, "Hosts in it"),
    RATE,
    CEIL,
    PRIORITY,
    QUOTA,
    OVER,
];

pub(crate) const HOST: &[Key] = &[
    needed(
        "address",
        Value::TextOrTexts,
        "Its address outside the overlay, or one per family",
    ),
    needed(
        "strategy",
        Value::Word(&["source", "member"]),
        "How it tells the VPN's packets from others: by the hub's address, or by its tunnel",
    ),
    key("agent", Value::Flag, "Whether it runs `fielato agent`"),
    key("groups", Value::Texts, "Groups it is in"),
    key("agent", Value::Flag, "Whether it runs `fielato agent`"),
];

pub(crate) const SERVICE: &[Key] = &[
    needed(
        "host",
        Value::TextOrTexts,
        "The host that has it, or several, or a group of hosts",
    ),
    needed(
        "ports",
        Value::Texts,
        "What is open: \"tcp/1234\", \"udp/5000-5010\", \"sctp/3868\"",
    ),
];

pub(crate) const RULE: &[Key] = &[
    needed(
        "from",
        Value::TextOrTexts,
        "Members, groups, hosts, addresses, any, members, internet",
    ),
    needed("to", Value::TextOrTexts, "The same, and services and hub"),
    needed(
        "action",
        Value::Word(&["accept", "allow", "drop", "deny", "reject", "log", "limit"]),
        "What happens",
    ),
    key("name", Value::Text, "What people call it"),
    key("when", Value::TableOrList(WHEN), "When it holds"),
    key("until", Value::Time, "Gone from then on"),
    key("prefix", Value::Text, "With log: what the line begins with"),
    key(
        "limit",
        Value::Text,
        "With limit: how many new connections are accepted, such as \"10/second\"",
    ),
    key(
        "burst",
        Value::Number(1, 10_000),
        "With limit: how many at once after a pause",
    ),
];

pub(crate) const WHEN: &[Key] = &[
    key("days", Value::TextOrTexts, "Days: \"mon-fri\" or a list"),
    key(
        "hours",
        Value::Text,
        "Hours of these days: \"08:00-18:00\"; they may pass midnight",
    ),
    key(
        "zone",
        Value::Text,
        "Whose clock: a time zone such as \"Europe/Madrid\"; UTC unless set",
    ),
];

pub(crate) const SHAPE: &[Key] = &[
    key("dev", Value::Text, "The hub's interface or its uplink"),
    key("qdisc", Value::Text, "What follows `tc qdisc add dev DEV`"),
    key("class", Value::Text, "What follows `tc class add dev DEV`"),
    key("for", Value::TextOrTexts, "With class: whose traffic goes into it"),
];

pub(crate) const BAN: &[Key] = &[
    needed("address", Value::Text, "An address or a network"),
    key("until", Value::Time, "When it ends by itself"),
];

pub(crate) const NAT: &[Key] = &[
    key(
        "masquerade",
        Value::Flag,
        "Whether what leaves the VPN takes the hub's address; the same as in [hub]",
    ),
    key(
        "publish",
        Value::List(PUBLISH),
        "Ports of the hub that lead to machines behind it",
    ),
];

pub(crate) const PUBLISH: &[Key] = &[
    needed(
        "port",
        Value::Text,
        "The hub's port: \"tcp/8080\", or several: \"udp/5000-5010\"",
    ),
    needed("to", Value::Text, "The host, member or service that it leads to"),
    key("to_port", Value::Number(1, 65535), "The port there, when it is another"),
    key("from", Value::TextOrTexts, "Who may use it; any unless set"),
    key(
        "address",
        Value::TextOrTexts,
        "The hub's address at which it is published; every one on the uplink unless set",
    ),
];

pub(crate) const RAW: &[Key] = &[
    needed(
        "rules",
        Value::Texts,
        "Rules in iptables' words: \"-A FORWARD -p gre -j ACCEPT\"",
    ),
    key("after", Value::Flag, "Behind the file's rules instead of before them"),
];

pub(crate) const TEST: &[Key] = &[
    needed("from", Value::TextOrTexts, "Who sends"),
    needed("to", Value::TextOrTexts, "Where to; perhaps with :PORT/PROTOCOL behind"),
    needed("expect", Value::Word(&["accept", "drop", "reject"]), "What is to happen"),
    key("name", Value::Text, "What people call it"),
    key(
        "via",
        Value::Text,
        "The interface by which it reaches the hub, when that is not what the sender says",
    ),
    key("rate", Value::Text, "The rate to which it is held on its way"),
];
