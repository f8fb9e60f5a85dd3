//! `-m socket`.

use fielato_netfilter::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use fielato_netfilter::matches::socket::Socket;

use crate::extensions::words::{self, Options};

/// The user side of `-m socket`.
pub struct SocketSyntax;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::flag("transparent"),
    OptionSpec::flag("nowildcard"),
    OptionSpec::flag("restore-skmark"),
];

impl MatchSyntax for SocketSyntax {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn revision(&self) -> u8 {
        3
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        words::help(
            "socket match",
            &[
                ("--nowildcard", "sockets bound to no address count too"),
                ("--transparent", "transparent sockets only"),
                ("--restore-skmark", "the packet gets the socket's mark"),
            ],
        )
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let options = Options::new("socket", given);
        Ok(Match::Socket(Socket {
            transparent: options.has("transparent"),
            no_wildcard: options.has("nowildcard"),
            restore_mark: options.has("restore-skmark"),
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Socket(m) = m else {
            return String::new();
        };
        let flags = [
            (m.transparent, " --transparent"),
            (m.no_wildcard, " --nowildcard"),
            (m.restore_mark, " --restore-skmark"),
        ];
        flags.iter().filter(|(set, _)| *set).map(|(_, text)| *text).collect()
    }

    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String {
        format!(" socket{}", self.save(m, cx))
    }
}
