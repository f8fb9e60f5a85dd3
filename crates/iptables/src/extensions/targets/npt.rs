//! The prefixes of SNPT and DNPT.

use fielato_netfilter::syntax::SyntaxError;
use fielato_netfilter::targets::snpt::Prefixes;
use fielato_wire::{Addr, Family};

use crate::extensions::values;
use crate::extensions::words::Options;

/// `--src-pfx` and `--dst-pfx`.
pub(super) fn parse(options: &Options<'_>) -> Result<Prefixes, SyntaxError> {
    let (from, from_len) = prefix(options.required("src-pfx")?)?;
    let (to, to_len) = prefix(options.required("dst-pfx")?)?;
    Ok(Prefixes {
        from,
        from_len,
        to,
        to_len,
    })
}

fn prefix(text: &str) -> Result<(Addr, u8), SyntaxError> {
    let (address, len) = text.split_once('/').unwrap_or((text, "128"));
    let parsed = values::address(address, Family::V6).zip(values::number(len, 0, 128));
    let (address, len) = parsed.ok_or_else(|| SyntaxError::new(format!("\"{text}\" is not a prefix")))?;
    Ok((address, len as u8))
}

pub(super) fn show(p: &Prefixes, dashes: &str) -> String {
    let one = |name: &str, address: Addr, len: u8| format!(" {dashes}{name} {}/{len}", address.display(Family::V6));
    one("src-pfx", p.from, p.from_len) + &one("dst-pfx", p.to, p.to_len)
}
