//! Files of wg-quick (`man 8 wg-quick`, and `man 8 wg` for the part that `wg setconf` takes): parse and emit.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::key::{KeyError, PresharedKey, PrivateKey, PublicKey};

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WgQuick {
    /// `[Interface]`
    pub interface: Interface,
    /// `[Peer]`, in the file's order.
    pub peers: Vec<Peer>,
}

/// `[Interface]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Comments, without `#`.
    pub comments: Vec<String>,
    /// `PrivateKey`
    pub private_key: Option<PrivateKey>,
    /// `Address`; without a prefix length it is a single address.
    pub addresses: Vec<IpNet>,
    /// `DNS`: servers and search domains.
    pub dns: Vec<String>,
    /// `MTU`
    pub mtu: Option<u32>,
    /// `Table`: a number, `off` or `auto`.
    pub table: Option<String>,
    /// `ListenPort`
    pub listen_port: Option<u16>,
    /// `FwMark`; 0 for off.
    pub fwmark: Option<u32>,
    /// `PreUp` commands.
    pub pre_up: Vec<String>,
    /// `PostUp` commands.
    pub post_up: Vec<String>,
    /// `PreDown` commands.
    pub pre_down: Vec<String>,
    /// `PostDown` commands.
    pub post_down: Vec<String>,
    /// `SaveConfig`
    pub save_config: Option<bool>,
}

/// `[Peer]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Comments just before the section, inside of it and behind its values, without `#`.
    pub comments: Vec<String>,
    /// `PublicKey`
    pub public_key: PublicKey,
    /// `PresharedKey`
    pub preshared_key: Option<PresharedKey>,
    /// `AllowedIPs`, as written: `wg` itself masks host bits.
    pub allowed_ips: Vec<IpNet>,
    /// `Endpoint`, `HOST:PORT`.
    pub endpoint: Option<String>,
    /// `PersistentKeepalive`, seconds; `None` for off.
    pub persistent_keepalive: Option<u16>,
}

/// What `Name = alice`, `friendly_name=alice` or `Client alice` names.
fn labelled(comment: &str) -> Option<&str> {
    let (label, name) = comment
        .split_once(['=', ':'])
        .or_else(|| comment.split_once(char::is_whitespace))?;
    let label = label.trim().to_ascii_lowercase();
    matches!(
        label.as_str(),
        "name" | "friendly_name" | "client" | "peer" | "user" | "member"
    )
    .then_some(name.trim())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace) && !text.contains('=')
}

/// Why a text is not a wg-quick file. Values are not repeated: they may be secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line, 1-based.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Peer {
    /// A peer with nothing but its key.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            comments: Vec::new(),
            public_key,
            preshared_key: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            persistent_keepalive: None,
        }
    }

    /// The name that the comments give the peer, as people and tools write it: `# alice`, `### Client alice`, `# Name = alice`,
    /// `# friendly_name=alice`. Only a single word counts, so that prose is not taken for a name.
    pub fn name(&self) -> Option<&str> {
        let comments = || self.comments.iter().map(|comment| comment.trim());
        // A label says more than a bare word.
        let labelled = comments().filter_map(labelled).find(|name| is_word(name));
        labelled.or_else(|| comments().find(|comment| is_word(comment)))
    }
}

impl WgQuick {
    /// Reads a file.
    ///
    /// # Errors
    /// The first line that wg-quick would not take, or a file without `[Interface]`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser {
            file: Self::default(),
            section: Section::None,
            comments: Vec::new(),
            seen_interface: false,
        };
        for (index, line) in text.lines().enumerate() {
            parser.line(line).map_err(|message| ParseError {
                line: index + 1,
                message,
            })?;
        }
        let last = text.lines().count().max(1);
        parser.end().map_err(|message| ParseError { line: last, message })
    }

    /// The file as text. It holds the private key when there is one: write it with mode 0600 only.
    pub fn emit(&self) -> String {
        let Self { interface, peers } = self;
        let mut out = String::from("[Interface]\n");
        interface.emit(&mut out);
        for peer in peers {
            out.push_str("\n[Peer]\n");
            peer.emit(&mut out);
        }
        out
    }
}

impl Interface {
    fn emit(&self, out: &mut String) {
        let Self {
            comments,
            private_key,
            addresses,
            dns,
            mtu,
            table,
            listen_port,
            fwmark,
            pre_up,
            post_up,
            pre_down,
            post_down,
            save_config,
        } = self;
        emit_comments(comments, out);
        emit(out, "PrivateKey", private_key.as_ref().map(PrivateKey::to_base64));
        emit_list(out, "Address", addresses);
        emit_list(out, "DNS", dns);
        emit(out, "MTU", *mtu);
        emit(out, "Table", table.as_ref());
        emit(out, "ListenPort", *listen_port);
        emit(out, "FwMark", *fwmark);
        for (key, commands) in [
            ("PreUp", pre_up),
            ("PostUp", post_up),
            ("PreDown", pre_down),
            ("PostDown", post_down),
        ] {
            for command in commands {
                emit(out, key, Some(command));
            }
        }
        emit(out, "SaveConfig", *save_config);
    }
}

impl Peer {
    fn emit(&self, out: &mut String) {
        let Self {
            comments,
            public_key,
            preshared_key,
            allowed_ips,
            endpoint,
            persistent_keepalive,
        } = self;
        emit_comments(comments, out);
        emit(out, "PublicKey", Some(public_key));
        emit(out, "PresharedKey", preshared_key.as_ref().map(PresharedKey::to_base64));
        emit_list(out, "AllowedIPs", allowed_ips);
        emit(out, "Endpoint", endpoint.as_ref());
        emit(out, "PersistentKeepalive", *persistent_keepalive);
    }
}

fn emit_comments(comments: &[String], out: &mut String) {
    for comment in comments {
        let _ = writeln!(out, "# {comment}");
    }
}

fn emit(out: &mut String, key: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        let _ = writeln!(out, "{key} = {value}");
    }
}

fn emit_list(out: &mut String, key: &str, values: &[impl ToString]) {
    if !values.is_empty() {
        let all: Vec<String> = values.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "{key} = {}", all.join(", "));
    }
}

struct Parser {
    file: WgQuick,
    section: Section,
    /// Comments that stand before the next section or value.
    comments: Vec<String>,
    seen_interface: bool,
}

enum Section {
    None,
    Interface,
    Peer(Draft),
}

/// A peer whose key may still be missing.
#[derive(Default)]
struct Draft {
    comments: Vec<String>,
    public_key: Option<PublicKey>,
    preshared_key: Option<PresharedKey>,
    allowed_ips: Vec<IpNet>,
    endpoint: Option<String>,
    persistent_keepalive: Option<u16>,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        // wg-quick cuts every line at the first `#`, in commands too.
        let (content, comment) = line
            .split_once('#')
            .map_or((line, None), |(content, comment)| (content, Some(comment)));
        let content = content.trim();
        let comment = comment
            .map(|comment| comment.trim_start_matches('#').trim())
            .filter(|comment| !comment.is_empty());
        if content.starts_with('[') {
            self.begin(content)?;
            self.own_comments();
        } else if !content.is_empty() {
            let (key, value) = content.split_once('=').ok_or("expected KEY = VALUE or a [Section]")?;
            self.own_comments();
            self.value(key.trim(), value.trim())?;
        }
        if let Some(comment) = comment {
            self.comments.push(comment.to_owned());
            if !content.is_empty() {
                self.own_comments();
            }
        }
        Ok(())
    }

    fn begin(&mut self, header: &str) -> Result<(), String> {
        let next = match header.to_ascii_lowercase().as_str() {
            "[interface]" if self.seen_interface => return Err("a second [Interface]; a file has one".to_owned()),
            "[interface]" => {
                self.seen_interface = true;
                Section::Interface
            }
            "[peer]" => Section::Peer(Draft::default()),
            _ => return Err("unknown section; a file has [Interface] and [Peer]".to_owned()),
        };
        self.finish_peer()?;
        self.section = next;
        Ok(())
    }

    /// The comments so far belong to the section that is being read.
    fn own_comments(&mut self) {
        match &mut self.section {
            Section::None => {}
            Section::Interface => self.file.interface.comments.append(&mut self.comments),
            Section::Peer(draft) => draft.comments.append(&mut self.comments),
        }
    }

    fn finish_peer(&mut self) -> Result<(), String> {
        if let Section::Peer(draft) = std::mem::replace(&mut self.section, Section::None) {
            let Draft {
                comments,
                public_key,
                preshared_key,
                allowed_ips,
                endpoint,
                persistent_keepalive,
            } = draft;
            let public_key = public_key.ok_or("the [Peer] before this line has no PublicKey")?;
            self.file.peers.push(Peer {
                comments,
                public_key,
                preshared_key,
                allowed_ips,
                endpoint,
                persistent_keepalive,
            });
        }
        Ok(())
    }

    fn end(mut self) -> Result<WgQuick, String> {
        self.own_comments();
        self.finish_peer()?;
        if !self.seen_interface {
            return Err("there is no [Interface]: not a wg-quick file".to_owned());
        }
        Ok(self.file)
    }

    fn value(&mut self, key: &str, value: &str) -> Result<(), String> {
        let lower = key.to_ascii_lowercase();
        match &mut self.section {
            Section::None => Err("a value before the first [Section]".to_owned()),
            Section::Interface => interface_value(&mut self.file.interface, key, &lower, value),
            Section::Peer(draft) => peer_value(draft, key, &lower, value),
        }
    }
}

fn interface_value(interface: &mut Interface, key: &str, lower: &str, value: &str) -> Result<(), String> {
    match lower {
        "privatekey" => interface.private_key = Some(parse_key(key, value)?),
        "address" => interface.addresses.extend(nets(key, value)?),
        "dns" => interface.dns.extend(list(value).map(str::to_owned)),
        "mtu" => interface.mtu = Some(number(key, value)?),
        "table" => interface.table = Some(value.to_owned()),
        "listenport" => interface.listen_port = Some(number(key, value)?),
        "fwmark" => interface.fwmark = Some(mark(key, value)?),
        "preup" => interface.pre_up.push(value.to_owned()),
        "postup" => interface.post_up.push(value.to_owned()),
        "predown" => interface.pre_down.push(value.to_owned()),
        "postdown" => interface.post_down.push(value.to_owned()),
        "saveconfig" => interface.save_config = Some(number(key, value)?),
        _ => return Err(format!("unknown key {key} in [Interface]")),
    }
    Ok(())
}

fn peer_value(draft: &mut Draft, key: &str, lower: &str, value: &str) -> Result<(), String> {
    match lower {
        "publickey" => draft.public_key = Some(parse_key(key, value)?),
        "presharedkey" => draft.preshared_key = Some(parse_key(key, value)?),
        "allowedips" => draft.allowed_ips.extend(nets(key, value)?),
        "endpoint" => draft.endpoint = Some(value.to_owned()),
        "persistentkeepalive" if value == "off" => draft.persistent_keepalive = None,
        "persistentkeepalive" => draft.persistent_keepalive = Some(number(key, value)?).filter(|seconds| *seconds > 0),
        _ => return Err(format!("unknown key {key} in [Peer]")),
    }
    Ok(())
}

fn parse_key<K: FromStr<Err = KeyError>>(key: &str, value: &str) -> Result<K, String> {
    value.parse().map_err(|error: KeyError| format!("{key}: {error}"))
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key} has a value that it cannot have"))
}

fn mark(key: &str, value: &str) -> Result<u32, String> {
    match value.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).map_err(|_| format!("{key} is not a number")),
        None if value == "off" => Ok(0),
        None => number(key, value),
    }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn nets(key: &str, value: &str) -> Result<Vec<IpNet>, String> {
    let net = |item: &str| {
        item.parse::<IpNet>()
            .ok()
            .or_else(|| item.parse::<IpAddr>().ok().map(IpNet::from))
    };
    list(value)
        .map(|item| net(item).ok_or_else(|| format!("{key} has something that is not an address or a network")))
        .collect()
}

#[cfg(test)]
mod tests;
