//! What follows `tc filter add dev DEV`, read.

use std::net::IpAddr;

use fielato_wire::number;
use ipnet::IpNet;

use crate::spec::{Filter, FilterKind, FilterProtocol, Flower, Handle, U32Field, U32Key};
use crate::units::{HANDLE, NUMBER, SIGNED, Unit};
use crate::words::{ParseError, Word, Words, put};

const KINDS: [&str; 4] = ["u32", "fw", "matchall", "flower"];

/// Reads `parent HANDLE [protocol P] [prio N] [handle MARK] KIND OPTIONS`.
pub fn filter(words: &mut Words<'_>) -> Result<Filter, ParseError> {
    let (mut parent, mut protocol, mut prio, mut mark) = (None, None, None, None);
    let kind = loop {
        let Some(word) = words.next() else {
            return Err(words.ended(format!("the filter's kind is missing: one of {}", KINDS.join(", "))));
        };
        match word.text {
            "parent" => words.fill(&mut parent, word, &HANDLE)?,
            "root" => return Err(word.error("name the root discipline by its handle: `parent 1:`")),
            "protocol" => {
                let known = FilterProtocol::WORDS.map(|(name, _)| name);
                let Some(name) = words.next() else {
                    return Err(word.error(format!("`protocol` wants one of {}", known.join(", "))));
                };
                let found = FilterProtocol::WORDS.iter().find(|(known, _)| *known == name.text);
                let Some((_, value)) = found else {
                    return Err(name.unknown("a protocol that can be used here", &known));
                };
                put(&mut protocol, word, *value)?;
            }
            "prio" | "pref" | "preference" | "priority" => words.fill(&mut prio, word, &PRIO)?,
            "handle" => {
                let value = words.value(word, &MARK)?;
                put(&mut mark, word, (word, value))?;
            }
            "dev" | "tc" | "filter" | "add" => {
                return Err(word.error(format!(
                    "`{}` is left out here: write what follows `tc filter add dev DEV`",
                    word.text
                )));
            }
            _ => break word,
        }
    };
    let Some(parent) = parent else {
        return Err(kind.error(format!(
            "before `{}` it must be said whose packets it looks at: `parent HANDLE`",
            kind.text
        )));
    };
    if let Some((word, _)) = mark
        && kind.text != "fw"
    {
        return Err(word.error(format!(
            "`handle` is for `fw`, whose mark it is; leave it out before `{}`",
            kind.text
        )));
    }
    let (filter_kind, classid) = match kind.text {
        "u32" => u32_kind(kind, words)?,
        "fw" => {
            let classid = only_classid(words, "fw")?;
            (FilterKind::Fw(mark.map(|(_, mark)| mark)), classid)
        }
        "matchall" => (FilterKind::Matchall, only_classid(words, "matchall")?),
        "flower" => flower(words)?,
        _ => return Err(kind.unknown("a filter that can be used here", &KINDS)),
    };
    if classid.is_none() && filter_kind != FilterKind::Fw(None) {
        return Err(kind.error(format!(
            "`{}` needs `classid MAJOR:MINOR`: where what it finds goes",
            kind.text
        )));
    }
    Ok(Filter {
        parent,
        protocol: protocol.unwrap_or_default(),
        prio,
        kind: filter_kind,
        classid,
    })
}

fn only_classid(words: &mut Words<'_>, kind: &str) -> Result<Option<Handle>, ParseError> {
    let mut classid = None;
    while let Some(option) = words.next() {
        match option.text {
            "classid" | "flowid" => words.fill(&mut classid, option, &HANDLE)?,
            _ => return Err(unknown(option, kind, &["classid"])),
        }
    }
    Ok(classid)
}

fn unknown(option: Word<'_>, kind: &str, known: &[&str]) -> ParseError {
    match option.text {
        "action" | "police" | "skip_hw" | "skip_sw" => option.error(format!(
            "a filter's `{}` is not supported here: it only chooses a class, by `classid MAJOR:MINOR`",
            option.text
        )),
        _ => option.unknown(&format!("an option of {kind} that is supported"), known),
    }
}

fn u32_kind(kind: Word<'_>, words: &mut Words<'_>) -> Result<(FilterKind, Option<Handle>), ParseError> {
    let (mut keys, mut classid) = (Vec::new(), None);
    while let Some(option) = words.next() {
        match option.text {
            "match" => u32_keys(option, words, &mut keys)?,
            "classid" | "flowid" => words.fill(&mut classid, option, &HANDLE)?,
            "ht" | "link" | "divisor" | "hashkey" | "offset" | "order" | "sample" | "indev" => {
                return Err(option.error(format!(
                    "u32's hash tables (`{}`) are not supported; write one filter each",
                    option.text
                )));
            }
            _ => return Err(unknown(option, "u32", &["match", "classid"])),
        }
    }
    match keys.is_empty() {
        true => Err(kind.error("u32 needs a match, such as `match ip dst 10.0.0.0/8`; for every packet: `match u32 0 0`")),
        false => Ok((FilterKind::U32(keys), classid)),
    }
}

fn u32_keys(option: Word<'_>, words: &mut Words<'_>, keys: &mut Vec<U32Key>) -> Result<(), ParseError> {
    const WHAT: [&str; 6] = ["ip", "ip6", "u32", "u16", "u8", "mark"];
    let Some(what) = words.next() else {
        return Err(option.error(format!("`match` wants one of {}", WHAT.join(", "))));
    };
    match what.text {
        "ip" => return header_keys(what, words, &IP, keys),
        "ip6" => return header_keys(what, words, &IP6, keys),
        "mark" => {
            let (value, mask) = (words.value(what, &NUMBER)?, words.value(what, &NUMBER)?);
            keys.push(U32Key {
                field: U32Field::Mark,
                value: value & mask,
                mask,
            });
        }
        "u32" => keys.push(raw_key(what, words, 4)?),
        "u16" => keys.push(raw_key(what, words, 2)?),
        "u8" => keys.push(raw_key(what, words, 1)?),
        _ => return Err(what.unknown("something that u32 can match here", &WHAT)),
    }
    Ok(())
}

/// `VALUE MASK [at [nexthdr+]OFFSET]` of as many bytes.
fn raw_key(what: Word<'_>, words: &mut Words<'_>, bytes: u32) -> Result<U32Key, ParseError> {
    let most = u32::MAX >> (32 - 8 * bytes);
    let number = |words: &mut Words<'_>, unit: &Unit<u32>| {
        let word = words.peek();
        let value = words.value(what, unit)?;
        match word {
            Some(word) if value > most => Err(word.error(format!("`{}` does not fit into {}", word.text, what.text))),
            _ => Ok(value),
        }
    };
    let (value, mask) = (number(words, &NUMBER)?, number(words, &MASK)?);
    let mut field = U32Field::At(0);
    if let Some(at) = words.peek().filter(|word| word.text == "at") {
        words.next();
        let word = words.peek().unwrap_or(at);
        field = words.value(at, &OFFSET)?;
        if let U32Field::At(offset) | U32Field::Nexthdr(offset) = field
            && offset.rem_euclid(bytes as i32) != 0
        {
            return Err(word.error(format!("the offset of a {} is a multiple of {bytes}", what.text)));
        }
    }
    Ok(place(field, value, mask, bytes))
}

/// A key of fewer than four bytes, in the four that it stands in.
fn place(field: U32Field, value: u32, mask: u32, bytes: u32) -> U32Key {
    let aligned = |offset: i32| offset.div_euclid(4) * 4;
    let shift = |offset: i32| 8 * (4 - bytes).saturating_sub(offset.rem_euclid(4) as u32);
    let (field, shift) = match field {
        U32Field::At(offset) if bytes < 4 => (U32Field::At(aligned(offset)), shift(offset)),
        U32Field::Nexthdr(offset) if bytes < 4 => (U32Field::Nexthdr(aligned(offset)), shift(offset)),
        field => (field, 0),
    };
    U32Key {
        field,
        value: (value & mask) << shift,
        mask: mask << shift,
    }
}

/// Where a header's fields stand.
struct HeaderFields {
    v6: bool,
    src: i32,
    dst: i32,
    /// Name, offset and bytes of other fields.
    others: &'static [(&'static str, i32, u32)],
}

/// `man 8 tc-u32`; ports as tc has them, behind a header without options.
const IP: HeaderFields = HeaderFields {
    v6: false,
    src: 12,
    dst: 16,
    others: &[
        ("tos", 1, 1),
        ("dsfield", 1, 1),
        ("protocol", 9, 1),
        ("sport", 20, 2),
        ("dport", 22, 2),
        ("icmp_type", 20, 1),
        ("icmp_code", 21, 1),
    ],
};

const IP6: HeaderFields = HeaderFields {
    v6: true,
    src: 8,
    dst: 24,
    others: &[
        ("protocol", 6, 1),
        ("sport", 40, 2),
        ("dport", 42, 2),
        ("icmp_type", 40, 1),
        ("icmp_code", 41, 1),
    ],
};

fn header_keys(what: Word<'_>, words: &mut Words<'_>, header: &HeaderFields, keys: &mut Vec<U32Key>) -> Result<(), ParseError> {
    let mut known = vec!["src", "dst"];
    known.extend(header.others.iter().map(|(name, ..)| *name));
    if header.v6 {
        known.push("priority");
    }
    let Some(field) = words.next() else {
        return Err(what.error(format!("`{}` wants one of {}", what.text, known.join(", "))));
    };
    match field.text {
        "src" => return address_keys(field, words, header, header.src, keys),
        "dst" => return address_keys(field, words, header, header.dst, keys),
        // The traffic class lies across the first two bytes.
        "priority" if header.v6 => {
            let (value, mask) = (words.value(field, &BYTE)?, words.value(field, &BYTE_MASK)?);
            keys.push(U32Key {
                field: U32Field::At(0),
                value: (value & mask) << 20,
                mask: mask << 20,
            });
        }
        name => match header.others.iter().find(|(known, ..)| *known == name) {
            Some((_, offset, bytes)) => {
                let (unit, mask_unit) = if *bytes == 1 {
                    (&BYTE, &BYTE_MASK)
                } else {
                    (&SHORT, &SHORT_MASK)
                };
                let (value, mask) = (words.value(field, unit)?, words.value(field, mask_unit)?);
                keys.push(place(U32Field::At(*offset), value, mask, *bytes));
            }
            None => return Err(field.unknown(&format!("a field of {} that u32 can match here", what.text), &known)),
        },
    }
    Ok(())
}

/// An address and how many of its bits count: a key for each four bytes of which some count.
fn address_keys(
    field: Word<'_>,
    words: &mut Words<'_>,
    header: &HeaderFields,
    offset: i32,
    keys: &mut Vec<U32Key>,
) -> Result<(), ParseError> {
    let word = words.peek().unwrap_or(field);
    match words.value(field, &NET)? {
        IpNet::V4(net) if !header.v6 => keys.push(U32Key {
            field: U32Field::At(offset),
            value: u32::from(net.network()),
            mask: u32::from(net.netmask()),
        }),
        IpNet::V6(net) if header.v6 => {
            let (value, mask) = (net.network().to_bits(), net.netmask().to_bits());
            for part in 0..4 {
                let shift = 96 - 32 * part;
                let key = U32Key {
                    field: U32Field::At(offset + 4 * part),
                    value: (value >> shift) as u32,
                    mask: (mask >> shift) as u32,
                };
                // `::/0` matches everything, by one key that compares nothing.
                if key.mask != 0 || (mask == 0 && part == 0) {
                    keys.push(key);
                }
            }
        }
        _ => {
            let wanted = if header.v6 {
                "`match ip6` wants an IPv6"
            } else {
                "`match ip` wants an IPv4"
            };
            return Err(word.error(format!("{wanted} address, not `{}`", word.text)));
        }
    }
    Ok(())
}

fn flower(words: &mut Words<'_>) -> Result<(FilterKind, Option<Handle>), ParseError> {
    const OPTIONS: [&str; 7] = ["src_ip", "dst_ip", "ip_proto", "src_port", "dst_port", "ip_tos", "classid"];
    let (mut flower, mut classid, mut port_word) = (Flower::default(), None, None);
    while let Some(option) = words.next() {
        match option.text {
            "src_ip" => words.fill(&mut flower.src_ip, option, &NET)?,
            "dst_ip" => words.fill(&mut flower.dst_ip, option, &NET)?,
            "ip_proto" => words.fill(&mut flower.ip_proto, option, &PROTOCOL)?,
            "src_port" => {
                port_word = Some(option);
                words.fill(&mut flower.src_port, option, &PORTS)?;
            }
            "dst_port" => {
                port_word = Some(option);
                words.fill(&mut flower.dst_port, option, &PORTS)?;
            }
            "ip_tos" => words.fill(&mut flower.ip_tos, option, &TOS)?,
            "classid" | "flowid" => words.fill(&mut classid, option, &HANDLE)?,
            _ => return Err(unknown(option, "flower", &OPTIONS)),
        }
    }
    let has_ports = matches!(flower.ip_proto, Some(number::TCP | number::UDP | number::SCTP));
    match port_word {
        Some(word) if !has_ports => Err(word.error(format!("`{}` needs `ip_proto` tcp, udp or sctp", word.text))),
        _ => Ok((FilterKind::Flower(flower), classid)),
    }
}

const PRIO: Unit<u16> = Unit {
    expected: "a priority from 1 to 65535",
    read: |word| u16::try_from((NUMBER.read)(word)?).ok().filter(|prio| *prio > 0),
};

/// `MARK[/MASK]`; the value under the mask.
const MARK: Unit<(u32, u32)> = Unit {
    expected: "a mark such as 5 or 0x10/0xff",
    read: |word| {
        let (value, mask) = match word.split_once('/') {
            Some((value, mask)) => ((NUMBER.read)(value)?, (NUMBER.read)(mask)?),
            None => ((NUMBER.read)(word)?, u32::MAX),
        };
        Some((value & mask, mask))
    },
};

const BYTE: Unit<u32> = Unit {
    expected: "a number up to 255",
    read: |word| (NUMBER.read)(word).filter(|value| *value <= 0xff),
};

const BYTE_MASK: Unit<u32> = Unit {
    expected: "a hexadecimal mask up to ff",
    read: |word| (MASK.read)(word).filter(|mask| *mask <= 0xff),
};

const SHORT_MASK: Unit<u32> = Unit {
    expected: "a hexadecimal mask up to ffff",
    read: |word| (MASK.read)(word).filter(|mask| *mask <= 0xffff),
};

const SHORT: Unit<u32> = Unit {
    expected: "a number up to 65535",
    read: |word| (NUMBER.read)(word).filter(|value| *value <= 0xffff),
};

/// tc reads u32's masks as hexadecimal, with or without `0x`, but its values as decimal without.
const MASK: Unit<u32> = Unit {
    expected: "a hexadecimal mask such as ffff or 0xffff",
    read: |word| u32::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok(),
};

/// `[nexthdr+]OFFSET`
const OFFSET: Unit<U32Field> = Unit {
    expected: "an offset such as 16 or nexthdr+4",
    read: |word| {
        let offset = |word: &str| (SIGNED.read)(word).filter(|offset| (-1024..=65_535).contains(offset));
        match word.strip_prefix("nexthdr+") {
            Some(word) => offset(word).map(U32Field::Nexthdr),
            None => offset(word).map(U32Field::At),
        }
    },
};

/// An address or a network; bits beyond the prefix don't count.
const NET: Unit<IpNet> = Unit {
    expected: "an address or network such as 10.0.0.0/8 or fd00::/64",
    read: |word| match word.parse::<IpNet>() {
        Ok(net) => Some(net.trunc()),
        Err(_) => word.parse::<IpAddr>().ok().map(IpNet::from),
    },
};

const PROTOCOL: Unit<u8> = Unit {
    expected: "a protocol: tcp, udp, sctp, icmp, icmpv6 or a number up to 255",
    read: |word| match word {
        "tcp" => Some(number::TCP),
        "udp" => Some(number::UDP),
        "sctp" => Some(number::SCTP),
        "icmp" => Some(number::ICMP),
        "icmpv6" => Some(number::ICMPV6),
        _ => u8::try_from((NUMBER.read)(word)?).ok(),
    },
};

/// `FIRST[-LAST]`
const PORTS: Unit<(u16, u16)> = Unit {
    expected: "a port or a range such as 5000-5010",
    read: |word| {
        let port = |word: &str| word.parse::<u16>().ok();
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last)
    },
};

/// `VALUE[/MASK]`, hexadecimal, as in tc.
const TOS: Unit<(u8, u8)> = Unit {
    expected: "a type of service such as 0x10 or b8/fc",
    read: |word| {
        let byte = |word: &str| u8::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok();
        let (value, mask) = match word.split_once('/') {
            Some((value, mask)) => (byte(value)?, byte(mask)?),
            None => (byte(word)?, 0xff),
        };
        Some((value & mask, mask))
    },
};
