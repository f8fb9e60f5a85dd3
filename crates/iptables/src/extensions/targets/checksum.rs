//! `-j CHECKSUM`.

use fielato_netfilter::Target;
use fielato_netfilter::syntax::{Given, OptionSpec, ParseContext, PrintContext, SyntaxError, TargetSyntax};
use fielato_netfilter::targets::checksum::Checksum;
use fielato_wire::Family;

use crate::extensions::words::{self, Options};

/// The user side of `-j CHECKSUM`.
pub struct ChecksumSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::flag("checksum-fill")];

impl TargetSyntax for ChecksumSyntax {
    fn name(&self) -> &'static str {
        "CHECKSUM"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "CHECKSUM target",
            &[("--checksum-fill", "complete the checksum of packets made here")],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Target, SyntaxError> {
        Options::new("CHECKSUM", given).required("checksum-fill")?;
        Ok(Target::Checksum(Checksum {}))
    }

    fn save(&self, _t: &Target, _cx: &PrintContext<'_>) -> String {
        " --checksum-fill".to_owned()
    }

    fn print(&self, _t: &Target, _cx: &PrintContext<'_>) -> String {
        " CHECKSUM fill".to_owned()
    }
}
