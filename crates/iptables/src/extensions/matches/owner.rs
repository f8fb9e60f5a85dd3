//! `-m owner`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::owner::Owner;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m owner`.
#[derive(Debug)]
pub struct OwnerSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("uid-owner").negatable(),
    OptionSpec::one("gid-owner").negatable(),
    OptionSpec::flag("socket-exists").negatable(),
    OptionSpec::flag("suppl-groups"),
];

impl MatchSyntax for OwnerSyntax {
    fn name(&self) -> &'static str {
        "owner"
    }

    fn revision(&self) -> u8 {
        1
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "owner match options:\n\
         [!] --uid-owner userid[-userid]      the user whose socket made the packet\n\
         [!] --gid-owner groupid[-groupid]    the group\n\
         [!] --socket-exists                  a socket made it\n\
         \x20   --suppl-groups                   supplementary groups count for --gid-owner too\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        if given.is_empty() {
            return Err(SyntaxError::new(
                "owner: At least one of --uid-owner, --gid-owner or --socket-exists is required",
            ));
        }
        let mut m = Owner::default();
        for option in given {
            match option.option {
                "uid-owner" => m.uid = Some(parse_ids(option, cx.names.user(option.value()))?),
                "gid-owner" => m.gid = Some(parse_ids(option, cx.names.group(option.value()))?),
                "socket-exists" => m.socket = Some(!option.negated),
                _ if m.gid.is_none() => {
                    return Err(bad_value("suppl-groups", "you need to use --gid-owner first"));
                }
                _ => m.supplementary = true,
            }
        }
        Ok(Match::Owner(m))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Owner(m) = m else {
            return String::new();
        };
        let labels = ["--socket-exists", "--uid-owner", "--gid-owner", "--suppl-groups"];
        show(m, labels, |_| None, |_| None)
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Owner(m) = m else {
            return String::new();
        };
        let labels = [
            "owner socket exists",
            "owner UID match",
            "owner GID match",
            "incl. suppl. groups",
        ];
        let user = |uid| if cx.numeric { None } else { cx.names.user_name(uid) };
        let group = |gid| if cx.numeric { None } else { cx.names.group_name(gid) };
        show(m, labels, user, group)
    }
}

fn bad_value(option: &str, value: &str) -> SyntaxError {
    SyntaxError::new(format!("owner: Bad value for \"--{option}\" option: \"{value}\""))
}

/// A name, or `ID[-ID]`. The highest number, -1, is no user and no group.
fn parse_ids(option: &Given, named: Option<u32>) -> Result<Range<u32>, SyntaxError> {
    if let Some(id) = named {
        return Ok(values::negate(Range::one(id), option));
    }
    let max = u64::from(u32::MAX) - 1;
    let bad = || bad_value(option.option, option.value());
    let (min, rest) = values::leading_number(option.value(), max).ok_or_else(bad)?;
    let high = match rest.strip_prefix(['-', ':']) {
        Some(high) => values::number(high, 0, max).ok_or_else(bad)?,
        None if rest.is_empty() => min,
        None => return Err(bad()),
    };
    Ok(values::negate(Range::new(min as u32, high as u32), option))
}

fn show(
    m: &Owner,
    [socket, uid, gid, groups]: [&str; 4],
    user: impl Fn(u32) -> Option<String>,
    group: impl Fn(u32) -> Option<String>,
) -> String {
    let ids = |label, ids: &Option<Range<u32>>, name: &dyn Fn(u32) -> Option<String>| match ids {
        None => String::new(),
        Some(range) if range.min != range.max => {
            format!("{} {label} {}-{}", values::not(range.negated), range.min, range.max)
        }
        Some(range) => {
            let id = name(range.min).unwrap_or_else(|| range.min.to_string());
            format!("{} {label} {id}", values::not(range.negated))
        }
    };
    let socket = m
        .socket
        .map_or(String::new(), |exists| format!("{} {socket}", values::not(!exists)));
    let groups = if m.supplementary {
        format!(" {groups}")
    } else {
        String::new()
    };
    socket + &ids(uid, &m.uid, &user) + &ids(gid, &m.gid, &group) + &groups
}
