//! `-j HMARK`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::hmark::{Hmark, Parameters};
use fielato_wire::Addr;
use fielato_wire::Family;

use crate::extensions::values;
use crate::extensions::words::{self, Options};

/// The user side of `-j HMARK`.
pub struct HmarkSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::one("hmark-tuple"),
    OptionSpec::one("hmark-src-prefix"),
    OptionSpec::one("hmark-dst-prefix"),
    OptionSpec::one("hmark-sport-mask"),
    OptionSpec::one("hmark-dport-mask"),
    OptionSpec::one("hmark-spi-mask"),
    OptionSpec::one("hmark-sport"),
    OptionSpec::one("hmark-dport"),
    OptionSpec::one("hmark-spi"),
    OptionSpec::one("hmark-proto-mask"),
    OptionSpec::one("hmark-rnd"),
    OptionSpec::one("hmark-mod"),
    OptionSpec::one("hmark-offset"),
];

impl TargetSyntax for HmarkSyntax {
    fn name(&self) -> &'static str {
        "HMARK"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "HMARK target",
            &[
                ("--hmark-tuple list", "what is hashed: src,dst,sport,dport,spi,proto,ct"),
                ("--hmark-mod value", "the mark is less than this"),
                ("--hmark-offset value", "added to the mark"),
                ("--hmark-rnd value", "start of the hash"),
                ("--hmark-src-prefix length", "bits of the source address"),
                ("--hmark-dst-prefix length", "bits of the destination address"),
                ("--hmark-sport-mask value", "bits of the source port"),
                ("--hmark-dport-mask value", "bits of the destination port"),
                ("--hmark-spi-mask value", "bits of the SPI (ESP, AH)"),
                ("--hmark-sport value", "bits set in the source port"),
                ("--hmark-dport value", "bits set in the destination port"),
                ("--hmark-spi value", "bits set in the SPI"),
                ("--hmark-proto-mask value", "bits of the protocol"),
            ],
        )
    }

    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("HMARK", given);
        options.required("hmark-mod")?;
        if !options.has("hmark-rnd") {
            return Err(SyntaxError::new("--hmark-rnd is mandatory"));
        }
        let long = |option| Ok::<_, SyntaxError>(options.number(option, 0, u32::MAX.into())?.map(|n| n as u32));
        let short = |option| Ok::<_, SyntaxError>(options.number(option, 0, 0xffff)?.map(|n| n as u16));
        let mut p = Parameters {
            source_mask: prefix(&options, "hmark-src-prefix", cx.family)?,
            destination_mask: prefix(&options, "hmark-dst-prefix", cx.family)?,
            sport_mask: short("hmark-sport-mask")?,
            dport_mask: short("hmark-dport-mask")?,
            spi_mask: long("hmark-spi-mask")?,
            sport: short("hmark-sport")?,
            dport: short("hmark-dport")?,
            spi: long("hmark-spi")?,
            protocol_mask: short("hmark-proto-mask")?,
            seed: long("hmark-rnd")?.unwrap_or(0),
            modulus: options.number("hmark-mod", 1, u32::MAX.into())?.unwrap_or(0) as u32,
            offset: long("hmark-offset")?,
            conntrack: false,
        };
        if let Some(text) = options.text("hmark-tuple") {
            tuple(text, &mut p, cx.family)?;
        }
        if p.spi_mask.is_some() && (p.sport_mask.is_some() || p.dport_mask.is_some()) {
            return Err(SyntaxError::new(
                "you cannot use --hmark-spi-mask and --hmark-?port-mask,at the same time",
            ));
        }
        let nothing = Parameters {
            seed: p.seed,
            modulus: p.modulus,
            offset: p.offset,
            ..Parameters::default()
        };
        if p == nothing {
            return Err(SyntaxError::new("you have to specify --hmark-tuple at least"));
        }
        Ok(Target::Hmark(Hmark(Box::new(p))))
    }

    fn save(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        let Target::Hmark(Hmark(p)) = t else {
            return String::new();
        };
        let mut out = String::new();
        let mut part = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                out += &format!(" --hmark-{name} {value}");
            }
        };
        let length = |mask: Option<Addr>| mask.map(|mask| length(mask, cx.family));
        part("src-prefix", length(p.source_mask));
        part("dst-prefix", length(p.destination_mask));
        part("sport-mask", p.sport_mask.map(|mask| format!("0x{mask:04x}")));
        part("dport-mask", p.dport_mask.map(|mask| format!("0x{mask:04x}")));
        part("spi-mask", p.spi_mask.map(|mask| format!("0x{mask:08x}")));
        part("sport", p.sport.map(|port| format!("0x{port:04x}")));
        part("dport", p.dport.map(|port| format!("0x{port:04x}")));
        part("spi", p.spi.map(|spi| format!("0x{spi:08x}")));
        part("proto-mask", p.protocol_mask.map(|mask| format!("0x{mask:02x}")));
        part("rnd", Some(format!("0x{:08x}", p.seed)));
        part("mod", Some(p.modulus.to_string()));
        part("offset", p.offset.map(|offset| offset.to_string()));
        part("tuple", p.conntrack.then(|| "ct".to_owned()));
        out
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        let Target::Hmark(Hmark(p)) = t else {
            return String::new();
        };
        let mut out = format!(" HMARK mod {} ", p.modulus);
        let mut part = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                out += &format!("{name}{value} ");
            }
        };
        let hex = |value: u32| format!("0x{value:x}");
        part("+ ", p.offset.map(hex));
        part("ct,", p.conntrack.then(String::new));
        part("src-prefix ", p.source_mask.map(|mask| length(mask, cx.family)));
        part("dst-prefix ", p.destination_mask.map(|mask| length(mask, cx.family)));
        part("sport-mask ", p.sport_mask.map(|mask| hex(mask.into())));
        part("dport-mask ", p.dport_mask.map(|mask| hex(mask.into())));
        part("spi-mask ", p.spi_mask.map(hex));
        part("sport ", p.sport.map(|port| hex(port.into())));
        part("dport ", p.dport.map(|port| hex(port.into())));
        part("spi ", p.spi.map(hex));
        part("proto-mask ", p.protocol_mask.map(|mask| hex(mask.into())));
        part("rnd ", Some(hex(p.seed)));
        out
    }
}

/// A prefix length, or a mask.
fn prefix(options: &Options<'_>, option: &str, family: Family) -> Result<Option<Addr>, SyntaxError> {
    let mask = |given: &Given| values::prefix_mask("HMARK", given, given.value(), family);
    options.get(option).map(mask).transpose()
}

fn length(mask: Addr, family: Family) -> String {
    mask.prefix_len(family)
        .map_or_else(|| "-1".to_owned(), |length| length.to_string())
}

/// A list of what is hashed as it is, or `ct`. Words can be cut short.
fn tuple(text: &str, p: &mut Parameters, family: Family) -> Result<(), SyntaxError> {
    for word in text.split(',') {
        let begins = |name: &str| !word.is_empty() && name.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
        let whole = Some(Addr::mask(family, family.bits()));
        if begins("ct") {
            p.conntrack = true;
        } else if begins("src") {
            p.source_mask = whole;
        } else if begins("dst") {
            p.destination_mask = whole;
        } else if begins("sport") {
            p.sport_mask = Some(u16::MAX);
        } else if begins("dport") {
            p.dport_mask = Some(u16::MAX);
        } else if begins("proto") {
            p.protocol_mask = Some(u16::MAX);
        } else if begins("spi") {
            p.spi_mask = Some(u32::MAX);
        } else {
            return Err(SyntaxError::new(format!("Bad type \"{word}\"")));
        }
    }
    Ok(())
}
