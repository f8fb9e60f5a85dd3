//! Changes to the file that leave every other byte as it was: comments, order and layout are the owner's.
//!
//! An edit splices the text where the TOML parser says a value stands, and the result is checked as a whole:
//! an edit that would leave an invalid file is refused.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;

use fielato_wireguard::PublicKey;
use ipnet::IpNet;
use jiff::Timestamp;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{Config, Route, Strategy};
use crate::diagnostic::{Diagnostics, Lines};
use crate::parse::free_address;

/// The file to be edited, with the files that it includes: the result must be right together with them, and they stay as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<'t> {
    /// The main file's text.
    pub text: &'t str,
    /// Name and text of each included file.
    pub included: Vec<(&'t str, &'t str)>,
}

impl<'t> From<&'t str> for Document<'t> {
    fn from(text: &'t str) -> Self {
        Self {
            text,
            included: Vec::new(),
        }
    }
}

impl<'t> From<&'t String> for Document<'t> {
    fn from(text: &'t String) -> Self {
        Self::from(text.as_str())
    }
}

impl<'t> Document<'t> {
    /// The same with an edited text.
    fn edited<'e>(&self, text: &'e str) -> Document<'e>
    where
        't: 'e,
    {
        Document {
            text,
            included: self.included.clone(),
        }
    }

    fn parse(&self) -> Result<Config, EditError> {
        self.with(self.text).map_err(EditError::Before)
    }

    /// With another text of the main file.
    fn with(&self, text: &str) -> Result<Config, Diagnostics> {
        let files: Vec<(&str, &str)> = std::iter::once(("", text)).chain(self.included.iter().copied()).collect();
        Config::parse_files(&files)
    }

    /// Why a member or host that is there cannot be edited here.
    fn elsewhere(&self, kind: &str, name: &str) -> EditError {
        let has = |text: &str| named(root(text).get_ref(), kind).iter().any(|(member, _)| *member == name);
        let file = self.included.iter().find(|(_, text)| has(text));
        match file {
            Some((file, _)) => EditError::Included {
                name: name.to_owned(),
                file: (*file).to_owned(),
            },
            None => EditError::Unknown(name.to_owned()),
        }
    }
}

/// What `member add` knows.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMember {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub public_key: PublicKey,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its overlay addresses; the next free ones when empty.
    pub addresses: Vec<IpAddr>,
    /// What it sends through the tunnel; the default stays unwritten.
    pub route: Route,
    /// Seconds between keepalives.
    pub keepalive: Option<u16>,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

impl NewMember {
    /// A member with the next free addresses and defaults for the rest.
    pub fn new(name: impl Into<String>, public_key: PublicKey) -> Self {
        Self {
            name: name.into(),
            public_key,
            groups: Vec::new(),
            addresses: Vec::new(),
            route: Route::Lab,
            keepalive: None,
            expires: None,
        }
    }
}

/// Why an edit was refused. The file is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The file had errors before the edit.
    #[error("the file has errors; mend them first: {0}")]
    Before(Diagnostics),
    /// The edit would leave a file with errors; lines and columns are those of the edited text.
    #[error("this would make the file invalid: {0}")]
    After(Diagnostics),
    /// A member of that name exists.
    #[error("member {0} exists already; choose another name, or remove it first")]
    Exists(String),
    /// No member has that name.
    #[error("no member is called {0}")]
    Unknown(String),
    /// The member or host stands in another file.
    #[error("{name} stands in {file}: edit it there")]
    Included {
        /// Its name.
        name: String,
        /// The file.
        file: String,
    },
    /// No protected host has that name.
    #[error("no host is called {0}; give it a [host.{0}] with address and strategy first")]
    NoHost(String),
    /// The overlay is full.
    #[error("every address of {0} is taken; remove a member, or give hub.addresses a larger network")]
    Full(IpNet),
    /// The member is named alone where something must stand.
    #[error("{name} is still needed in line {}; change {} first", list(.lines), if .lines.len() == 1 { "it" } else { "them" })]
    Needed {
        /// The member.
        name: String,
        /// Lines, 1-based.
        lines: Vec<usize>,
    },
}

fn list(lines: &[usize]) -> String {
    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Adds a member behind the last one.
///
/// # Errors
/// See [`EditError`].
pub fn add_member<'t>(document: impl Into<Document<'t>>, member: &NewMember) -> Result<(String, Vec<IpAddr>), EditError> {
    let document = document.into();
    let text = document.text;
    let config = document.parse()?;
    if config.members.contains_key(&member.name) {
        return Err(EditError::Exists(member.name.clone()));
    }
    let addresses = if member.addresses.is_empty() {
        free_addresses(&config)?
    } else {
        member.addresses.clone()
    };
    let root = root(text);
    let tables = named(root.get_ref(), "member");
    let end = tables
        .into_iter()
        .map(|(_, at)| at.extent(text).end)
        .max()
        .unwrap_or(text.len());
    let (before, after) = text.split_at(end);
    let gap = if before.is_empty() || before.ends_with("\n\n") {
        ""
    } else if before.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let edited = format!("{before}{gap}{}{after}", member_table(member, &addresses));
    if config.insertion(text, &edited).is_none() {
        document.with(&edited).map_err(EditError::After)?;
    }
    Ok((edited, addresses))
}

/// The next free address of each family; the IPv6 one gets the IPv4 one's number within its network where that is free.
fn free_addresses(config: &Config) -> Result<Vec<IpAddr>, EditError> {
    let used: HashSet<IpAddr> = config
        .members
        .values()
        .flat_map(|member| member.addresses.iter().copied())
        .collect();
    let mut found: Vec<IpAddr> = Vec::new();
    let mut number = None;
    let of_family = |v4: bool| config.hub.addresses.iter().filter(move |net| net.addr().is_ipv4() == v4);
    for v4 in [true, false] {
        let mut full = None;
        for net in of_family(v4) {
            let wish = number.and_then(|number| at_number(net, number));
            match free_address(net, &used, wish) {
                Some(address) => {
                    number = number_in(net, address);
                    found.push(address);
                    full = None;
                    break;
                }
                None => full = Some(net.trunc()),
            }
        }
        if let Some(net) = full {
            return Err(EditError::Full(net));
        }
    }
    Ok(found)
}

fn number_in(net: &IpNet, address: IpAddr) -> Option<u128> {
    match (net.network(), address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => Some(u128::from(address.to_bits() - net.to_bits())),
        _ => None,
    }
}

fn at_number(net: &IpNet, number: u128) -> Option<IpAddr> {
    match net.network() {
        IpAddr::V6(network) => network.to_bits().checked_add(number).map(|bits| IpAddr::V6(bits.into())),
        IpAddr::V4(_) => None,
    }
}

fn member_table(member: &NewMember, addresses: &[IpAddr]) -> String {
    let NewMember {
        name,
        public_key,
        groups,
        addresses: _,
        route,
        keepalive,
        expires,
    } = member;
    let mut out = format!(
        "[member.{}]\naddresses = {}\npublic_key = \"{public_key}\"\n",
        key(name),
        strings(addresses)
    );
    if !groups.is_empty() {
        out.push_str(&format!("groups = {}\n", strings(groups)));
    }
    match route {
        Route::Lab => {}
        Route::All => out.push_str("route = \"all\"\n"),
        Route::Prefixes(nets) => out.push_str(&format!("route = {}\n", strings(nets))),
    }
    if let Some(seconds) = keepalive {
        out.push_str(&format!("keepalive = {seconds}\n"));
    }
    if let Some(expires) = expires {
        out.push_str(&format!("expires = {expires}\n"));
    }
    out
}

/// A name as a TOML key: bare when it may be.
pub(crate) fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        string(name)
    }
}

/// A TOML basic string.
pub(crate) fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(crate) fn strings(items: &[impl ToString]) -> String {
    format!(
        "[{}]",
        items
            .iter()
            .map(|item| string(&item.to_string()))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// Lists that name members, by the tables `[[kind]]` in which they are.
const LISTED: [(&str, &str); 7] = [
    ("rule", "from"),
    ("rule", "to"),
    ("shape", "for"),
    ("test", "from"),
    ("test", "to"),
    ("nat.publish", "from"),
    ("nat.publish", "to"),
];

/// Removes a member: its table, and its name where it stands beside others in rules, groups and other lists.
///
/// # Errors
/// [`EditError::Needed`] when a rule, a class or a host would be left with nobody; else see [`EditError`].
pub fn remove_member<'t>(document: impl Into<Document<'t>>, name: &str) -> Result<String, EditError> {
    let document = document.into();
    let text = document.text;
    let config = document.parse()?;
    if !config.members.contains_key(name) {
        return Err(EditError::Unknown(name.to_owned()));
    }
    let root = root(text);
    if !named(root.get_ref(), "member").iter().any(|(member, _)| *member == name) {
        return Err(document.elsewhere("member", name));
    }
    let lines = Lines::new(text);
    let mut needed = Vec::new();
    let mut cuts: Vec<Range<usize>> = Vec::new();
    for (host, at) in named(root.get_ref(), "host") {
        if host == name && config.hosts.get(name).is_some_and(|host| host.strategy == Strategy::Member) {
            needed.push(lines.line(at.key.start));
        }
    }
    // With a host of the same name the word still names somebody.
    let word_remains = config.hosts.contains_key(name);
    for (kind, key) in LISTED {
        if word_remains && kind != "shape" {
            continue;
        }
        for value in lists(root.get_ref(), kind, key) {
            match cut(value, name) {
                Cut::Nothing => {}
                Cut::Span(span) => cuts.push(span),
                Cut::Alone(span) => needed.push(lines.line(span.start)),
            }
        }
    }
    for (_, at) in named(root.get_ref(), "group") {
        match at.table.get("members").map(|value| cut(value, name)) {
            None | Some(Cut::Nothing) => {}
            Some(Cut::Span(span)) => cuts.push(span),
            // A group may be empty.
            Some(Cut::Alone(span)) => cuts.push(span.start + 1..span.end.saturating_sub(1)),
        }
    }
    if !needed.is_empty() {
        needed.sort_unstable();
        return Err(EditError::Needed {
            name: name.to_owned(),
            lines: needed,
        });
    }
    cuts.extend(
        named(root.get_ref(), "member")
            .into_iter()
            .filter(|(member, _)| *member == name)
            .map(|(_, at)| at.removal(text)),
    );
    cuts.sort_by_key(|cut| std::cmp::Reverse(cut.start));
    let mut edited = text.to_owned();
    for cut in cuts {
        edited.replace_range(cut, "");
    }
    document.with(&edited).map_err(EditError::After)?;
    Ok(edited)
}

/// Disables or enables a member.
///
/// # Errors
/// See [`EditError`].
pub fn set_disabled<'t>(document: impl Into<Document<'t>>, name: &str, disabled: bool) -> Result<String, EditError> {
    let document = document.into();
    let text = document.text;
    let config = document.parse()?;
    let member = config.members.get(name).ok_or_else(|| EditError::Unknown(name.to_owned()))?;
    if member.disabled == disabled {
        return Ok(text.to_owned());
    }
    let edited = set_value(&document, "member", name, "disabled", if disabled { "true" } else { "false" })?;
    document.with(&edited).map_err(EditError::After)?;
    Ok(edited)
}

/// Lets a protected host have an agent, whose member of the same name has this key: an existing member gets it instead of its own, else
/// one is added with the next free addresses.
///
/// # Errors
/// [`EditError::NoHost`] when there is no such host; else see [`EditError`].
pub fn enrol_host<'t>(document: impl Into<Document<'t>>, name: &str, public_key: &PublicKey) -> Result<String, EditError> {
    let document = document.into();
    let config = document.parse()?;
    let host = config.hosts.get(name).ok_or_else(|| EditError::NoHost(name.to_owned()))?;
    let edited = match config.members.contains_key(name) {
        true => {
            let edited = set_value(&document, "member", name, "public_key", &string(&public_key.to_string()))?;
            match config.members.get(name).is_some_and(|member| member.disabled) {
                true => set_value(&document.edited(&edited), "member", name, "disabled", "false")?,
                false => edited,
            }
        }
        false => add_member(document.clone(), &NewMember::new(name, *public_key))?.0,
    };
    let edited = match host.agent {
        true => edited,
        false => set_value(&document.edited(&edited), "host", name, "agent", "true")?,
    };
    document.with(&edited).map_err(EditError::After)?;
    Ok(edited)
}

/// Sets one value of a table `[kind.NAME]`, which is there.
fn set_value(document: &Document<'_>, kind: &str, name: &str, key: &str, value: &str) -> Result<String, EditError> {
    let text = document.text;
    let root = root(text);
    let found = named(root.get_ref(), kind).into_iter().find(|(found, _)| *found == name);
    let (_, at) = found.ok_or_else(|| document.elsewhere(kind, name))?;
    let mut edited = text.to_owned();
    match at.table.get(key) {
        Some(old) => edited.replace_range(old.span(), value),
        None if at.inline(text) => edited.insert_str(at.last_value(), &format!(", {key} = {value}")),
        None => {
            let end = at.extent(text).end;
            let newline = if text[..end].ends_with('\n') { "" } else { "\n" };
            edited.insert_str(end, &format!("{newline}{key} = {value}\n"));
        }
    }
    Ok(edited)
}

/// Where names stand in a file that has been parsed without errors.
fn root(text: &str) -> Spanned<DeTable<'_>> {
    DeTable::parse_recoverable(text).0
}

/// A table `[kind.NAME]`.
struct At<'a> {
    key: Range<usize>,
    value: Range<usize>,
    table: &'a DeTable<'a>,
}

impl At<'_> {
    fn inline(&self, text: &str) -> bool {
        text[self.value.clone()].starts_with('{')
    }

    /// Where its last value ends.
    fn last_value(&self) -> usize {
        self.table
            .values()
            .map(|value| value.span().end)
            .max()
            .unwrap_or(self.value.end)
    }

    /// From the line of its header to the end of the line of its last value.
    fn extent(&self, text: &str) -> Range<usize> {
        let start = text[..self.key.start].rfind('\n').map_or(0, |newline| newline + 1);
        let last = self.last_value().max(self.value.end);
        let end = text[last..].find('\n').map_or(text.len(), |newline| last + newline + 1);
        start..end
    }

    /// The extent with the comment directly above it, and one of the empty lines around it.
    fn removal(&self, text: &str) -> Range<usize> {
        let Range { mut start, mut end } = self.extent(text);
        while let Some(line) = text[..start].strip_suffix('\n') {
            let above = line.rfind('\n').map_or(0, |newline| newline + 1);
            if !line[above..].trim_start().starts_with('#') {
                break;
            }
            start = above;
        }
        if text[end..].starts_with('\n') && (start == 0 || text[..start].ends_with("\n\n")) {
            end += 1;
        } else if end == text.len() && text[..start].ends_with("\n\n") {
            start -= 1;
        }
        start..end
    }
}

fn named<'a>(root: &'a DeTable<'a>, kind: &str) -> Vec<(&'a str, At<'a>)> {
    let tables = root.get(kind).and_then(|value| value.get_ref().as_table());
    let entries = tables.into_iter().flatten();
    let at = |(name, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
        let name: &'a Spanned<std::borrow::Cow<'a, str>> = name;
        let table = value.get_ref().as_table()?;
        Some((
            &**name.get_ref(),
            At {
                key: name.span(),
                value: value.span(),
                table,
            },
        ))
    };
    entries.filter_map(at).collect()
}

/// The values under `key` in the tables `[[kind]]`.
fn lists<'a>(root: &'a DeTable<'a>, kind: &str, key: &str) -> Vec<&'a Spanned<DeValue<'a>>> {
    let mut path = kind.split('.');
    let first = path.next().and_then(|part| root.get(part));
    let value = path.fold(first, |value, part| value?.get_ref().as_table()?.get(part));
    let tables = value.and_then(|value| value.get_ref().as_array());
    let tables = tables.into_iter().flat_map(|array| array.iter());
    tables.filter_map(|table| table.get_ref().as_table()?.get(key)).collect()
}

enum Cut {
    Nothing,
    /// The name with the comma that goes with it.
    Span(Range<usize>),
    /// The name is all there is.
    Alone(Range<usize>),
}

fn cut(value: &Spanned<DeValue<'_>>, name: &str) -> Cut {
    let is_name = |value: &Spanned<DeValue<'_>>| value.get_ref().as_str() == Some(name);
    let Some(items) = value.get_ref().as_array() else {
        return if is_name(value) {
            Cut::Alone(value.span())
        } else {
            Cut::Nothing
        };
    };
    let Some(index) = items.iter().position(is_name) else {
        return Cut::Nothing;
    };
    let span = |index: usize| items.get(index).map(Spanned::span);
    match (span(index), index.checked_sub(1).and_then(span), span(index + 1)) {
        (Some(own), _, Some(next)) => Cut::Span(own.start..next.start),
        (Some(own), Some(previous), None) => Cut::Span(previous.end..own.end),
        _ => Cut::Alone(value.span()),
    }
}
