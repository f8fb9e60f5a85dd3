//! An existing wg-quick hub becomes a configuration file.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use fielato_wireguard::wg_quick::{Interface, Peer, WgQuick};
use fielato_wireguard::{PresharedKey, PrivateKey};
use ipnet::IpNet;

use crate::config::Config;
use crate::diagnostic::Diagnostics;
use crate::edit::{key, string, strings};
use crate::facts::MachineFacts;
use crate::parse::RESERVED;

/// What an import gives. The secrets are for files of mode 0600; the text has none.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// A configuration that parses.
    pub toml: String,
    /// The hub's private key.
    pub hub_private_key: PrivateKey,
    /// Pre-shared keys by member.
    pub psks: Vec<(String, PresharedKey)>,
    /// What was not carried over, or should be looked at.
    pub notes: Vec<String>,
}

/// Why a file cannot become a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The key is elsewhere.
    #[error("the file has no PrivateKey; add the line, or import the file that wg-quick really uses")]
    NoPrivateKey,
    /// No overlay can be told from it.
    #[error("the file has no Address: the hub's overlay addresses cannot be told")]
    NoAddress,
    /// What comes out has errors.
    #[error("what the file says is not a valid configuration: {diagnostics}")]
    Invalid {
        /// The text that was tried.
        toml: String,
        /// What is wrong with it.
        diagnostics: Diagnostics,
    },
}

/// Turns a hub's wg-quick file into a configuration that behaves as the hub does today.
///
/// # Errors
/// See [`ImportError`].
pub fn import(file: &WgQuick, interface: &str, facts: &MachineFacts) -> Result<Imported, ImportError> {
    let WgQuick {
        interface: section,
        peers,
    } = file;
    let hub_private_key = section.private_key.clone().ok_or(ImportError::NoPrivateKey)?;
    if section.addresses.is_empty() {
        return Err(ImportError::NoAddress);
    }
    let mut notes = Vec::new();
    let addresses = overlay(&section.addresses, &mut notes);
    let commands = Commands::read(section, &mut notes);
    let mut toml = hub_text(section, interface, facts, &addresses, &commands);
    if section.table.as_deref().is_some_and(|table| table != "auto") {
        notes.push("Table is set: routes of the interface were managed elsewhere; fielato adds the overlay's own.".to_owned());
    }
    let mut names = Names::default();
    let mut psks = Vec::new();
    for peer in peers {
        let name = names.choose(peer);
        let inside = member_text(&name, peer, &addresses, &mut toml, &mut notes);
        if let Some(psk) = peer.preshared_key.clone().filter(|_| inside) {
            psks.push((name, psk));
        }
    }
    toml.push_str("\n# As before: every member reaches everything. Name groups, hosts and services to say more.\n");
    toml.push_str("[[rule]]\nfrom = \"members\"\nto = \"any\"\naction = \"accept\"\n");
    match Config::parse(&toml) {
        Ok(_) => Ok(Imported {
            toml,
            hub_private_key,
            psks,
            notes,
        }),
        Err(diagnostics) => Err(ImportError::Invalid { toml, diagnostics }),
    }
}

/// The hub's addresses; one without a network gets the usual size.
fn overlay(addresses: &[IpNet], notes: &mut Vec<String>) -> Vec<IpNet> {
    let widen = |net: &IpNet| {
        if net.prefix_len() < net.max_prefix_len() - 1 {
            return *net;
        }
        let length = if net.addr().is_ipv4() { 24 } else { 64 };
        let wide = IpNet::new(net.addr(), length).unwrap_or(*net);
        notes.push(format!(
            "the hub's address {net} has no network around it; {} was taken for the overlay: check it.",
            wide.trunc()
        ));
        wide
    };
    addresses.iter().map(widen).collect()
}

/// What the file's commands say about the hub.
#[derive(Default)]
struct Commands {
    masquerade: bool,
    uplink: Option<String>,
}

impl Commands {
    fn read(section: &Interface, notes: &mut Vec<String>) -> Self {
        let mut found = Self::default();
        let Interface {
            pre_up,
            post_up,
            pre_down,
            post_down,
            ..
        } = section;
        for line in pre_up.iter().chain(post_up) {
            for command in line.split([';', '&']).map(str::trim).filter(|command| !command.is_empty()) {
                found.command(command, notes);
            }
        }
        if !pre_down.is_empty() || !post_down.is_empty() {
            notes.push("PreDown and PostDown are not carried over: `fielato down` puts back what `up` changed.".to_owned());
        }
        found
    }

    fn command(&mut self, command: &str, notes: &mut Vec<String>) {
        let words: Vec<&str> = command
            .split_whitespace()
            .map(|word| word.trim_matches(['"', '\'', '\\']))
            .collect();
        let follows = |flags: &[&str]| {
            words
                .windows(2)
                .find(|pair| flags.contains(&pair[0]) && pair[1] != "!=" && pair[1] != "%i")
                .map(|pair| pair[1].to_owned())
        };
        if words.iter().any(|word| word.eq_ignore_ascii_case("masquerade")) {
            self.masquerade = true;
            let negated = words
                .windows(2)
                .any(|pair| pair[0] == "!" && matches!(pair[1], "-o" | "--out-interface"));
            if !negated {
                self.uplink = self
                    .uplink
                    .take()
                    .or_else(|| follows(&["-o", "--out-interface", "oif", "oifname"]));
            }
        } else if words
            .iter()
            .any(|word| *word == "FORWARD" || word.contains("ip_forward") || word.contains("forwarding"))
        {
            notes.push(format!("not carried over, since fielato does it itself: {command}"));
        } else {
            notes.push(format!("not carried over and not run: {command}"));
        }
    }
}

fn hub_text(section: &Interface, interface: &str, facts: &MachineFacts, addresses: &[IpNet], commands: &Commands) -> String {
    let port = section.listen_port.unwrap_or(facts.listen_port);
    let mut out =
        String::from("# Made from a wg-quick file. Secrets are not here: they are files under /etc/fielato/keys/.\n\n[hub]\n");
    let mut line = |key: &str, value: String| {
        let _ = writeln!(out, "{key} = {value}");
    };
    line("interface", string(interface));
    line("endpoint", string(&facts.endpoint_with_port(port)));
    line("listen_port", port.to_string());
    line("addresses", strings(addresses));
    line("uplink", string(commands.uplink.as_deref().unwrap_or(&facts.uplink)));
    if !facts.source.is_empty() {
        line("source", strings(&facts.source));
    }
    if let Some(mtu) = section.mtu {
        line("mtu", mtu.to_string());
    }
    line("masquerade", commands.masquerade.to_string());
    out
}

/// Writes a member. False when it has no address in the overlay, so that it stands as a comment.
fn member_text(name: &str, peer: &Peer, overlay: &[IpNet], toml: &mut String, notes: &mut Vec<String>) -> bool {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for net in &peer.allowed_ips {
        let single = net.prefix_len() == net.max_prefix_len();
        let inside = overlay.iter().any(|overlay| overlay.contains(&net.addr()));
        let first = !addresses.iter().any(|address| address.is_ipv4() == net.addr().is_ipv4());
        if single && inside && first {
            addresses.push(net.addr());
        } else {
            notes.push(format!(
                "{name}: {net} in AllowedIPs is not carried over: a member has one overlay address per family."
            ));
        }
    }
    let commented = if addresses.is_empty() {
        notes.push(format!("{name} has no address in the overlay and stands as a comment."));
        "# "
    } else {
        ""
    };
    let _ = write!(
        toml,
        "\n{commented}[member.{}]\n{commented}addresses = {}\n",
        key(name),
        strings(&addresses)
    );
    let _ = writeln!(toml, "{commented}public_key = \"{}\"", peer.public_key);
    if let Some(seconds) = peer.persistent_keepalive {
        let _ = writeln!(toml, "{commented}keepalive = {seconds}");
    }
    commented.is_empty()
}

/// Names from comments, made valid and unique.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    count: usize,
}

impl Names {
    fn choose(&mut self, peer: &Peer) -> String {
        self.count += 1;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let plain: String = peer
            .name()
            .unwrap_or_default()
            .chars()
            .map(|c| if allowed(c) { c } else { '-' })
            .collect();
        let plain: String = plain.trim_start_matches(['-', '.']).chars().take(50).collect();
        let unfit = plain.is_empty() || RESERVED.contains(&plain.as_str()) || plain.parse::<IpAddr>().is_ok();
        let base = if unfit { format!("member-{}", self.count) } else { plain };
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let name = std::iter::once(base.clone())
            .chain(numbered)
            .find(|name| !self.taken.contains(name))
            .unwrap_or(base.clone());
        self.taken.insert(name.clone());
        name
    }
}
