//! Words of options read as numbers, ports, masks and names, and how they are printed. What is taken and what is refused is
//! iptables' (`libxtables/xtoptions.c`, `libxtables/xtables.c`); so are the texts, of which some end with a line end of their own.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_netfilter::matches::Range;
use fielato_netfilter::rule::AddressMatch;
use fielato_netfilter::syntax::{Given, Names, ParseContext, SyntaxError};
use fielato_wire::{Addr, Family};

use crate::text;
pub use crate::text::number;

/// [`text::leading_number`], at most `max`.
pub fn leading_number(text: &str, max: u64) -> Option<(u64, &str)> {
    text::leading_number(text).filter(|&(value, _)| value <= max)
}

/// The option's word as an integer from `min` to `max`.
pub fn integer(extension: &str, given: &Given, min: u64, max: u64) -> Result<u64, SyntaxError> {
    number(given.value(), min, max).ok_or_else(|| {
        SyntaxError::new(format!(
            "{extension}: bad value for option \"--{}\", or out of range ({min}-{max}).\n",
            given.option
        ))
    })
}

/// The option's word as `NUMBER` or `[NUMBER]:[NUMBER]`; a missing end is 0 or `max`.
pub fn integers(extension: &str, given: &Given, max: u64) -> Result<(u64, Option<u64>), SyntaxError> {
    let mut values = Vec::new();
    let mut near = given.value();
    for part in given.value().split(':') {
        if values.len() == 2 {
            return Err(SyntaxError::new(format!(
                "{extension}: Too many components for option \"--{}\" (max: 2)\n",
                given.option
            )));
        }
        let value = match leading_number(part, max) {
            _ if part.is_empty() => [0, max][values.len()],
            Some((value, "")) => value,
            Some((_, rest)) => {
                return Err(SyntaxError::new(format!(
                    "{extension}: Argument to \"--{}\" has unexpected characters near \"{rest}\".\n",
                    given.option
                )));
            }
            None => {
                return Err(SyntaxError::new(format!(
                    "{extension}: bad value for option \"--{}\" near \"{near}\", or out of range (0-{max}).\n",
                    given.option
                )));
            }
        };
        values.push(value);
        near = near.get(part.len() + 1..).unwrap_or("");
    }
    Ok((values[0], values.get(1).copied()))
}

/// [`integers`] as a range of bytes, with the option's `!`.
pub fn range8(extension: &str, given: &Given) -> Result<Range<u8>, SyntaxError> {
    let (min, max) = integers(extension, given, u8::MAX.into())?;
    Ok(Range {
        min: min as u8,
        max: max.unwrap_or(min) as u8,
        negated: given.negated,
    })
}

/// [`integers`] as a range of 16-bit numbers, with the option's `!`.
pub fn range16(extension: &str, given: &Given) -> Result<Range<u16>, SyntaxError> {
    let (min, max) = integers(extension, given, u16::MAX.into())?;
    Ok(Range {
        min: min as u16,
        max: max.unwrap_or(min) as u16,
        negated: given.negated,
    })
}

/// [`integers`] as a range of 32-bit numbers, with the option's `!`.
pub fn range32(extension: &str, given: &Given) -> Result<Range<u32>, SyntaxError> {
    let (min, max) = integers(extension, given, u32::MAX.into())?;
    Ok(Range {
        min: min as u32,
        max: max.unwrap_or(min) as u32,
        negated: given.negated,
    })
}

/// `VALUE[/MASK]`, both 32 bits.
pub fn value_mask(extension: &str, given: &Given) -> Result<(u32, u32), SyntaxError> {
    let max = u64::from(u32::MAX);
    let bad = || {
        SyntaxError::new(format!(
            "{extension}: bad integer value for option \"--{}\", or out of range.\n",
            given.option
        ))
    };
    let (value, rest) = leading_number(given.value(), max).ok_or_else(bad)?;
    let Some(mask) = rest.strip_prefix('/') else {
        return if rest.is_empty() {
            Ok((value as u32, u32::MAX))
        } else {
            Err(garbage(extension, given))
        };
    };
    match leading_number(mask, max).ok_or_else(bad)? {
        (mask, "") => Ok((value as u32, mask as u32)),
        _ => Err(garbage(extension, given)),
    }
}

fn garbage(extension: &str, given: &Given) -> SyntaxError {
    SyntaxError::new(format!(
        "{extension}: trailing garbage after value for option \"--{}\".\n",
        given.option
    ))
}

/// `VALUE[/MASK]`, or a name from `file` (see [`Names::number`]).
pub fn named_value_mask(extension: &str, given: &Given, names: &dyn Names, file: &str) -> Result<(u32, u32), SyntaxError> {
    value_mask(extension, given).or_else(|_| {
        let unknown = || {
            SyntaxError::new(format!(
                "{extension}: could not map name {} to an integer value for option \"--{}\".",
                given.value(),
                given.option
            ))
        };
        let value = names.number(file, given.value()).ok_or_else(unknown)?;
        Ok((value, u32::MAX))
    })
}

/// ` 0xVALUE[/0xMASK]`
pub fn show_value_mask(value: u32, mask: u32) -> String {
    if mask == u32::MAX {
        format!(" {value:#x}")
    } else {
        format!(" {value:#x}/{mask:#x}")
    }
}

/// [`show_value_mask`] with a name where `file` has one and the mask is full.
pub fn show_named_value_mask(value: u32, mask: u32, names: &dyn Names, file: &str) -> String {
    match names.name_of(file, value) {
        Some(name) if mask == u32::MAX => format!(" {name}"),
        _ => show_value_mask(value, mask),
    }
}

/// A port by number or by the service's name.
pub fn port(text: &str, protocol: &str, names: &dyn Names) -> Result<u16, SyntaxError> {
    number(text, 0, u16::MAX.into())
        .map(|port| port as u16)
        .or_else(|| names.service(text, protocol))
        .ok_or_else(|| SyntaxError::new(format!("invalid port/service `{text}' specified")))
}

/// `PORT` or `[PORT]:[PORT]`, with the option's `!`.
pub fn ports(given: &Given, protocol: &str, names: &dyn Names) -> Result<Range<u16>, SyntaxError> {
    let Some((low, high)) = given.value().split_once(':') else {
        let port = port(given.value(), protocol, names)?;
        return Ok(negate(Range::one(port), given));
    };
    let min = if low.is_empty() { 0 } else { port(low, protocol, names)? };
    let max = if high.is_empty() {
        u16::MAX
    } else {
        port(high, protocol, names)?
    };
    if min > max {
        return Err(SyntaxError::new("invalid portrange (min > max)"));
    }
    Ok(negate(Range::new(min, max), given))
}

/// As [`ports`], but read by getaddrinfo(3): services of any protocol, numbers cut to 16 bits, ranges in any order.
pub fn loose_ports(extension: &str, given: &Given, names: &dyn Names) -> Result<Range<u16>, SyntaxError> {
    let mut parts = given.value().split(':');
    let (low, high) = (parts.next().unwrap_or(""), parts.next());
    if parts.next().is_some() {
        return Err(SyntaxError::new(format!(
            "{extension}: Too many components for option \"--{}\" (max: 2)\n",
            given.option
        )));
    }
    let resolve = |text: &str, default| {
        if text.is_empty() {
            Ok(default)
        } else {
            loose_port(text, names)
        }
    };
    let min = resolve(low, 0)?;
    let max = match high {
        None => min,
        Some(high) => resolve(high, u16::MAX)?,
    };
    Ok(negate(Range::new(min, max), given))
}

fn loose_port(text: &str, names: &dyn Names) -> Result<u16, SyntaxError> {
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(port) = text.parse::<u32>()
    {
        return Ok(port as u16);
    }
    ["tcp", "udp", "dccp", "udplite", "sctp"]
        .iter()
        .find_map(|protocol| names.service(text, protocol))
        .ok_or_else(|| SyntaxError::new(format!("Port \"{text}\" does not resolve to anything.\n")))
}

/// `range` with the option's `!`.
pub fn negate<T: Copy + PartialOrd>(range: Range<T>, given: &Given) -> Range<T> {
    if given.negated { range.not() } else { range }
}

/// ` ! --NAME MIN:MAX` as `-S` prints a range.
pub fn save_range<T: std::fmt::Display + PartialEq>(option: &str, range: &Range<T>) -> String {
    format!("{} --{option} {}", not(range.negated), show_range(range))
}

/// `MIN:MAX`, or the one value.
pub fn show_range<T: std::fmt::Display + PartialEq>(range: &Range<T>) -> String {
    if range.min == range.max {
        range.min.to_string()
    } else {
        format!("{}:{}", range.min, range.max)
    }
}

/// `-S` of ports: nothing when the range is everything, even negated unless it is to be `complete`.
pub fn save_ports(option: &str, range: &Range<u16>, complete: bool) -> String {
    if (range.min, range.max) == (0, u16::MAX) && !(complete && range.negated) {
        return String::new();
    }
    save_range(option, range)
}

/// `-L` of ports: ` spt:80`, ` spts:!1:1023`.
pub fn print_ports(label: &str, range: &Range<u16>, show: &dyn Fn(u16) -> String) -> String {
    let inverted = if range.negated { "!" } else { "" };
    if range.min == range.max {
        format!(" {label}:{inverted}{}", show(range.min))
    } else if (range.min, range.max) != (0, u16::MAX) || range.negated {
        format!(" {label}s:{inverted}{}:{}", show(range.min), show(range.max))
    } else {
        String::new()
    }
}

/// `-L` of an identifier or a range of them: `spi:5`, `spis:!5:6`; nothing when it is everything.
pub fn print_ids(label: &str, range: &Range<u32>) -> String {
    let inverted = if range.negated { "!" } else { "" };
    let plural = if range.min == range.max { "" } else { "s" };
    if (range.min, range.max) == (0, u32::MAX) && !range.negated {
        return String::new();
    }
    format!("{label}{plural}:{inverted}{}", show_range(range))
}

/// `-S` of an identifier or a range of them: nothing when it is everything, even negated unless it is to be `complete`.
pub fn save_ids(option: &str, range: &Range<u32>, complete: bool) -> String {
    if (range.min, range.max) == (0, u32::MAX) && !(complete && range.negated) {
        return String::new();
    }
    save_range(option, range)
}

/// A port's service, or its number.
pub fn show_port(port: u16, protocol: &str, numeric: bool, names: &dyn Names) -> String {
    let name = if numeric { None } else { names.service_name(port, protocol) };
    name.unwrap_or_else(|| port.to_string())
}

/// ` !` or nothing.
pub const fn not(negated: bool) -> &'static str {
    if negated { " !" } else { "" }
}

/// A space and the text as a shell word, in double quotes where iptables puts them.
pub fn save_string(text: &str) -> String {
    format!(" {}", text::quoted(text))
}

/// An address in numbers.
pub fn address(text: &str, family: Family) -> Option<Addr> {
    match family {
        Family::V4 => text.parse::<Ipv4Addr>().ok().map(Addr::from),
        Family::V6 => text.parse::<Ipv6Addr>().ok().map(Addr::from),
    }
}

/// The option's word as `ADDRESS[/LENGTH|/MASK]`, with its `!`. Bits outside the mask stay: the kernel compares with them.
pub fn address_mask(extension: &str, given: &Given, cx: &ParseContext<'_>) -> Result<AddressMatch, SyntaxError> {
    let (address_text, mask_text) = match given.value().split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (given.value(), None),
    };
    let network = address(address_text, cx.family).ok_or_else(|| SyntaxError::new("getaddrinfo: Name or service not known\n"))?;
    let mask = match mask_text {
        None => Addr::mask(cx.family, cx.family.bits()),
        Some(text) => prefix_mask(extension, given, text, cx.family)?,
    };
    Ok(AddressMatch {
        network,
        mask,
        negated: given.negated,
    })
}

/// A prefix length, or a mask written as an address. A mask that is no prefix becomes the full mask, as iptables makes it.
pub fn prefix_mask(extension: &str, given: &Given, text: &str, family: Family) -> Result<Addr, SyntaxError> {
    if let Some(len) = number(text, 0, family.bits().into()) {
        return Ok(Addr::mask(family, len as u8));
    }
    // inet_aton(3) takes an IPv4 address as one number too.
    let in_one = || match family {
        Family::V4 => number(text, 0, u32::MAX.into()).map(|bits| Addr::from_bits(bits.into())),
        Family::V6 => None,
    };
    let mask = address(text, family).or_else(in_one).ok_or_else(|| {
        SyntaxError::new(format!(
            "{extension}: bad value for option \"--{}\", neither a valid network mask nor valid CIDR (0-{}).\n",
            given.option,
            family.bits()
        ))
    })?;
    Ok(Addr::mask(family, mask.prefix_len(family).unwrap_or(family.bits())))
}

/// ` ADDRESS[/LENGTH]` as iptables prints it: no length when the mask is full, the mask in full when it is no prefix.
pub fn show_address_mask(match_: &AddressMatch, family: Family) -> String {
    let address = match_.network.display(family);
    match match_.mask.prefix_len(family) {
        Some(len) if len == family.bits() => format!(" {address}"),
        Some(len) => format!(" {address}/{len}"),
        None => format!(" {address}/{}", match_.mask.display(family)),
    }
}

/// The option of this canonical name, if it was given.
pub fn find<'g>(given: &'g [Given], option: &str) -> Option<&'g Given> {
    given.iter().find(|given| given.option == option)
}

/// The option of this canonical name, which must have been given.
pub fn required<'g>(extension: &str, given: &'g [Given], option: &str) -> Result<&'g Given, SyntaxError> {
    find(given, option).ok_or_else(|| SyntaxError::new(format!("{extension}: option \"--{option}\" must be specified\n")))
}

/// Refuses two options together.
pub fn exclusive(extension: &str, given: &[Given], one: &str, other: &str) -> Result<(), SyntaxError> {
    if find(given, one).is_some() && find(given, other).is_some() {
        return Err(SyntaxError::new(format!(
            "{extension}: option \"--{one}\" cannot be used together with \"--{other}\".\n"
        )));
    }
    Ok(())
}

/// A list under a heading, as help texts have it.
pub fn list(heading: &str, words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut text = format!("{heading}\n");
    for word in words {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", word.as_ref());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_strtoul_reads_them() {
        let cases = [
            ("10", Some((10, ""))),
            ("0x1f/3", Some((31, "/3"))),
            ("010", Some((8, ""))),
            ("0x", Some((0, "x"))),
            ("08", Some((0, "8"))),
            ("-1", None),
            ("", None),
            ("x", None),
            ("256", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(leading_number(text, 255), expected, "{text:?}");
        }
    }

    #[test]
    fn strings_are_quoted_where_needed() {
        assert_eq!(save_string("foo-bar_1"), " foo-bar_1");
        assert_eq!(save_string("a b"), " \"a b\"");
        assert_eq!(save_string("it's \"so\" \\"), " \"it\\'s \\\"so\\\" \\\\\"");
        assert_eq!(save_string(""), " \"\"");
    }
}
