//! `-j SYNPROXY`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::synproxy::Synproxy;
use fielato_wire::Family;

use crate::extensions::words::{self, Options};

/// The user side of `-j SYNPROXY`.
pub struct SynproxySyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::flag("sack-perm"),
    OptionSpec::flag("timestamp"),
    OptionSpec::one("wscale"),
    OptionSpec::one("mss"),
    OptionSpec::flag("ecn"),
];

impl TargetSyntax for SynproxySyntax {
    fn name(&self) -> &'static str {
        "SYNPROXY"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "SYNPROXY target",
            &[
                ("--sack-perm", "offer selective acknowledgements"),
                ("--timestamp", "offer time stamps"),
                ("--wscale value", "offer this window scale"),
                ("--mss value", "offer this segment size"),
                ("--ecn", "offer ECN"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        let options = Options::new("SYNPROXY", given);
        Ok(Target::Synproxy(Synproxy {
            sack_perm: options.has("sack-perm"),
            timestamp: options.has("timestamp"),
            wscale: options.number("wscale", 0, u32::MAX.into())?.map(|scale| scale as u8),
            mss: options.number("mss", 0, u32::MAX.into())?.map(|mss| mss as u16),
            ecn: options.has("ecn"),
        }))
    }

    fn save(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let parts = parts(t);
        parts.iter().map(|part| format!(" --{part}")).collect()
    }

    fn print(&self, t: &Target, _cx: &PrintContext<'_>) -> String {
        let parts = parts(t);
        String::from(" SYNPROXY ") + &parts.iter().map(|part| format!("{part} ")).collect::<String>()
    }
}

fn parts(t: &Target) -> Vec<String> {
    let Target::Synproxy(t) = t else {
        return Vec::new();
    };
    let flag = |set: bool, name: &str| set.then(|| name.to_owned());
    [
        flag(t.sack_perm, "sack-perm"),
        flag(t.timestamp, "timestamp"),
        t.wscale.map(|scale| format!("wscale {scale}")),
        t.mss.map(|mss| format!("mss {mss}")),
        flag(t.ecn, "ecn"),
    ]
    .into_iter()
    .flatten()
    .collect()
}
