//! `-m sctp`.

use fielato_netfilter::matches::Range;
use fielato_netfilter::matches::sctp::{ChunkFlags, ChunkMode, Chunks, Sctp};
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Arguments, Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m sctp`.
#[derive(Debug)]
pub struct SctpSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("source-port").negatable(),
    OptionSpec::one("sport").negatable().alias_of("source-port"),
    OptionSpec::one("destination-port").negatable(),
    OptionSpec::one("dport").negatable().alias_of("destination-port"),
    OptionSpec::one("chunk-types").arguments(Arguments::Two).negatable(),
];

/// Chunk types (RFC 9260 §3.2 and others): name, number, letters of their flags from bit 7 to bit 0.
///
/// iptables stores flags under the place in this list, not under the number: they are the same for all types with flags but
/// I_DATA, whose flags neither hold for a packet nor are saved.
const TYPES: [(&str, u8, &str); 22] = [
    ("DATA", 0, "----IUBE"),
    ("INIT", 1, "--------"),
    ("INIT_ACK", 2, "--------"),
    ("SACK", 3, "--------"),
    ("HEARTBEAT", 4, "--------"),
    ("HEARTBEAT_ACK", 5, "--------"),
    ("ABORT", 6, "-------T"),
    ("SHUTDOWN", 7, "--------"),
    ("SHUTDOWN_ACK", 8, "--------"),
    ("ERROR", 9, "--------"),
    ("COOKIE_ECHO", 10, "--------"),
    ("COOKIE_ACK", 11, "--------"),
    ("ECN_ECNE", 12, "--------"),
    ("ECN_CWR", 13, "--------"),
    ("SHUTDOWN_COMPLETE", 14, "-------T"),
    ("I_DATA", 64, "----IUBE"),
    ("RE_CONFIG", 130, "--------"),
    ("PAD", 132, "--------"),
    ("ASCONF", 193, "--------"),
    ("ASCONF_ACK", 128, "--------"),
    ("FORWARD_TSN", 192, "--------"),
    ("I_FORWARD_TSN", 194, "--------"),
];

impl MatchSyntax for SctpSyntax {
    fn name(&self) -> &'static str {
        "sctp"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "sctp match options\n\
         [!] --source-port port[:port]                            source port or range\n\
         \x20--sport ...\n\
         [!] --destination-port port[:port]                       destination port or range\n\
         \x20--dport ...\n\
         [!] --chunk-types (all|any|only) chunktype[:flags][,...]  all or any of these chunks are there, or only these\n\
         chunktypes - DATA INIT INIT_ACK SACK HEARTBEAT HEARTBEAT_ACK ABORT SHUTDOWN SHUTDOWN_ACK ERROR COOKIE_ECHO COOKIE_ACK\n\
         \x20            ECN_ECNE ECN_CWR SHUTDOWN_COMPLETE I_DATA RE_CONFIG PAD ASCONF ASCONF_ACK FORWARD_TSN I_FORWARD_TSN ALL NONE\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let mut m = Sctp::default();
        for option in given {
            match (option.option, option.values.as_slice()) {
                ("source-port", _) => m.sport = Some(values::ports(option, "sctp", cx.names)?),
                ("destination-port", _) => m.dport = Some(values::ports(option, "sctp", cx.names)?),
                (_, [mode, list]) => m.chunks = Some(Box::new(parse_chunks(mode, list, option.negated)?)),
                _ => return Err(SyntaxError::new("--chunk-types requires two args")),
            }
        }
        Ok(Match::Sctp(m))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Sctp(m) = m else {
            return String::new();
        };
        let mut text = save_port("sport", m.sport.as_ref()) + &save_port("dport", m.dport.as_ref());
        if let Some(chunks) = &m.chunks {
            text += &format!("{} --chunk-types {}", values::not(chunks.negated), show_chunks(chunks, false));
        }
        text
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        let Match::Sctp(m) = m else {
            return String::new();
        };
        let show = |port| values::show_port(port, "sctp", cx.numeric, cx.names);
        let ports = |label, ports: &Option<Range<u16>>| match ports {
            Some(range) => values::print_ports(label, range, &show),
            None => String::new(),
        };
        let mut text = " sctp".to_owned() + &ports("spt", &m.sport) + &ports("dpt", &m.dport);
        if let Some(chunks) = &m.chunks {
            text += &format!("{} {}", values::not(chunks.negated), show_chunks(chunks, cx.numeric));
        }
        text
    }
}

fn parse_chunks(mode: &str, list: &str, negated: bool) -> Result<Chunks, SyntaxError> {
    let modes = [("any", ChunkMode::Any), ("all", ChunkMode::All), ("only", ChunkMode::Only)];
    let found = modes.iter().find(|(name, _)| name.eq_ignore_ascii_case(mode));
    let wrong = || SyntaxError::new("Match type has to be one of \"ALL\", \"ANY\" or \"ONLY\"");
    let mut chunks = Chunks {
        mode: found.ok_or_else(wrong)?.1,
        types: [0; 2],
        flags: Vec::new(),
        negated,
    };
    if list.eq_ignore_ascii_case("ALL") {
        chunks.types = [u128::MAX; 2];
        return Ok(chunks);
    }
    if list.eq_ignore_ascii_case("NONE") {
        return Ok(chunks);
    }
    for word in list.split(',').filter(|word| !word.is_empty()) {
        let (name, flags) = word.split_once(':').unwrap_or((word, ""));
        let place = TYPES.iter().position(|(known, ..)| known.eq_ignore_ascii_case(name));
        let place = place.ok_or_else(|| SyntaxError::new(format!("Unknown sctp chunk `{name}'")))?;
        chunks.add(TYPES[place].1);
        for letter in flags.chars() {
            add_flag(&mut chunks.flags, place, letter)?;
        }
    }
    // iptables notes flags under the name's place in its list. From I_DATA on that is another type's number: such flags reach no
    // chunk, and no save file has words for them.
    let types = chunks.clone();
    chunks.flags.retain(|flags| types.has(flags.chunk));
    Ok(chunks)
}

/// A capital letter: the flag is to be set; a small one: it is not to be.
fn add_flag(flags: &mut Vec<ChunkFlags>, place: usize, letter: char) -> Result<(), SyntaxError> {
    let valid = TYPES[place].2;
    let bit = valid.find(letter.to_ascii_uppercase()).filter(|_| letter != '-');
    let bit = bit.ok_or_else(|| SyntaxError::new(format!("Invalid flags for chunk type {place}")))?;
    let mask = 0x80 >> bit;
    let chunk = place as u8;
    let known = match flags.iter().position(|known| known.chunk == chunk) {
        Some(known) => known,
        None if flags.len() == Chunks::MAX_FLAGS => {
            return Err(SyntaxError::new(format!(
                "Number of chunk types with flags exceeds currently allowed limit of {}",
                Chunks::MAX_FLAGS
            )));
        }
        None => {
            flags.push(ChunkFlags {
                chunk,
                mask: 0,
                flags: 0,
            });
            flags.len() - 1
        }
    };
    flags[known].mask |= mask;
    if letter.is_ascii_uppercase() {
        flags[known].flags |= mask;
    }
    Ok(())
}

fn show_chunks(chunks: &Chunks, numeric: bool) -> String {
    let mode = match chunks.mode {
        ChunkMode::Any => "any",
        ChunkMode::All => "all",
        ChunkMode::Only => "only",
    };
    let list = match chunks.types {
        [0, 0] => "NONE".to_owned(),
        [u128::MAX, u128::MAX] => "ALL".to_owned(),
        _ => {
            let words: Vec<_> = (0..=u8::MAX)
                .filter(|&chunk| chunks.has(chunk))
                .map(|chunk| show_chunk(chunks, chunk, numeric))
                .collect();
            words.join(",")
        }
    };
    format!("{mode} {list}")
}

fn show_chunk(chunks: &Chunks, chunk: u8, numeric: bool) -> String {
    let named = TYPES.iter().find(|(_, number, _)| *number == chunk);
    let mut text = match named {
        Some((name, ..)) if !numeric => (*name).to_owned(),
        _ => format!("0x{chunk:04X}"),
    };
    if let Some(flags) = chunks.flags.iter().find(|flags| flags.chunk == chunk)
        && let Some((_, _, letters)) = named
    {
        text.push(':');
        for (bit, letter) in letters.chars().enumerate().filter(|(bit, _)| flags.mask & 0x80 >> bit != 0) {
            let set = flags.flags & 0x80 >> bit != 0;
            text.push(if set { letter } else { letter.to_ascii_lowercase() });
        }
    }
    text
}

/// `-S` of a port: all of them too, when asked for.
fn save_port(option: &str, ports: Option<&Range<u16>>) -> String {
    ports.map_or(String::new(), |range| values::save_range(option, range))
}
