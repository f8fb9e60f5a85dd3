//! `-j CT` and its old name NOTRACK.

use fielato_netfilter::Target;
use fielato_netfilter::conntrack::{HelperKind, Template};
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::ct::Ct;
use fielato_wire::Family;

use crate::extensions::values;
use crate::extensions::words::{self, Options};
use crate::text::bare;

/// The user side of `-j CT`.
pub struct CtSyntax;

/// The user side of `-j NOTRACK`.
pub struct NotrackSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::flag("notrack"),
    OptionSpec::one("helper"),
    OptionSpec::one("timeout"),
    OptionSpec::one("ctevents"),
    OptionSpec::one("expevents"),
    OptionSpec::one("zone-orig"),
    OptionSpec::one("zone-reply"),
    OptionSpec::one("zone"),
];

/// Events by the bits of `enum ip_conntrack_events`.
const EVENTS: [(u32, &str); 10] = [
    (1 << 0, "new"),
    (1 << 1, "related"),
    (1 << 2, "destroy"),
    (1 << 3, "reply"),
    (1 << 4, "assured"),
    (1 << 5, "protoinfo"),
    (1 << 6, "helper"),
    (1 << 7, "mark"),
    (1 << 8, "natseqinfo"),
    (1 << 9, "secmark"),
];
const EXPECT_EVENTS: [(u32, &str); 1] = [(1 << 0, "new")];

/// Bits of a zone's directions.
const ORIGINAL: u8 = 1;
const REPLY: u8 = 2;

impl TargetSyntax for CtSyntax {
    fn name(&self) -> &'static str {
        "CT"
    }

    fn revision(&self) -> u8 {
        2
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "CT target",
            &[
                ("--notrack", "no connection for this packet"),
                ("--helper name", "helper of the connection"),
                ("--timeout name", "timeout policy of the connection"),
                ("--ctevents event[,event...]", "events to report of the connection"),
                ("--expevents event[,event...]", "events to report of its expectations"),
                ("--zone {ID|mark}", "zone of the connection"),
                ("--zone-orig {ID|mark}", "zone, in the original direction only"),
                ("--zone-reply {ID|mark}", "zone, in the reply direction only"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("CT", given);
        let mut template = Template::default();
        if let Some(name) = options.text("helper") {
            let helper = HelperKind::from_name(name);
            template.helper = Some(helper.ok_or_else(|| SyntaxError::new(format!("CT: there is no helper \"{name}\"")))?);
        }
        template.timeout = options.text("timeout").map(str::to_owned);
        template.events = options.text("ctevents").map(|text| events(text, &EVENTS)).transpose()?;
        template.expect_events = options
            .text("expevents")
            .map(|text| events(text, &EXPECT_EVENTS))
            .transpose()?;
        for given in given {
            template.zone.directions |= match given.option {
                "zone" => 0,
                "zone-orig" => ORIGINAL,
                "zone-reply" => REPLY,
                _ => continue,
            };
            let text = given.value();
            template.zone.id = 0;
            if text.eq_ignore_ascii_case("mark") {
                template.zone_from_mark = true;
            } else {
                let id = values::number(text, 0, 0xffff);
                template.zone.id = id.ok_or_else(|| SyntaxError::new(format!("Cannot parse {text} as a zone ID")))? as u16;
            }
        }
        Ok(Target::Ct(Ct {
            notrack: options.has("notrack"),
            alias: false,
            template: Box::new(template),
        }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Ct(t) if !t.alias => show(t, "--"),
            _ => String::new(),
        }
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        match t {
            Target::Ct(t) if !t.alias => format!(" CT{}", show(t, "")),
            _ => " NOTRACK".to_owned(),
        }
    }
}

impl TargetSyntax for NotrackSyntax {
    fn name(&self) -> &'static str {
        "NOTRACK"
    }

    fn revision(&self) -> u8 {
        2
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn help(&self, _family: Family) -> String {
        String::new()
    }

    fn parse(&self, _given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        Ok(Target::Ct(Ct {
            notrack: true,
            alias: true,
            template: Box::default(),
        }))
    }

    fn save(&self, _t: &Target, _cx: &PrintContext<'_>) -> String {
        String::new()
    }

    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String {
        CtSyntax.print(t, cx)
    }
}

fn events(text: &str, known: &[(u32, &str)]) -> Result<u32, SyntaxError> {
    text.split(',').try_fold(0, |mask, word| {
        let event = known.iter().find(|(_, name)| *name == word);
        let (bit, _) = event.ok_or_else(|| SyntaxError::new(format!("Unknown event type \"{word}\"")))?;
        Ok(mask | bit)
    })
}

fn show(t: &Ct, dashes: &str) -> String {
    let template = &*t.template;
    let mut out = String::new();
    if t.notrack {
        out += &format!(" {dashes}notrack");
    }
    if let Some(helper) = template.helper {
        out += &format!(" {dashes}helper {}", helper.name());
    }
    if let Some(timeout) = &template.timeout {
        out += &format!(" {dashes}timeout {}", bare(timeout));
    }
    let names = |mask: u32, known: &[(u32, &'static str)]| {
        let set = known.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| *name);
        set.collect::<Vec<_>>().join(",")
    };
    if let Some(mask) = template.events {
        out += &format!(" {dashes}ctevents {}", names(mask, &EVENTS));
    }
    if let Some(mask) = template.expect_events {
        out += &format!(" {dashes}expevents {}", names(mask, &EXPECT_EVENTS));
    }
    if template.zone_from_mark || template.zone.id != 0 {
        let direction = match template.zone.directions {
            ORIGINAL => "-orig",
            REPLY => "-reply",
            _ => "",
        };
        match template.zone_from_mark {
            true => out += &format!(" {dashes}zone{direction} mark"),
            false => out += &format!(" {dashes}zone{direction} {}", template.zone.id),
        }
    }
    out
}
