//! `-m comment`.

use fielato_netfilter::matches::comment::Comment;
use fielato_netfilter::rule::Match;
use fielato_netfilter::syntax::{Given, MatchSyntax, OptionSpec, ParseContext, PrintContext, SyntaxError};
use fielato_wire::Family;

use crate::extensions::values;

/// `-m comment`.
#[derive(Debug)]
pub struct CommentSyntax;

const OPTIONS: &[OptionSpec] = &[OptionSpec::one("comment")];
/// Longer comments are cut, as iptables does.
const MAX: usize = 255;

impl MatchSyntax for CommentSyntax {
    fn name(&self) -> &'static str {
        "comment"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn help(&self, _family: Family) -> String {
        "comment match options:\n\
         --comment COMMENT             a remark for people; holds for every packet\n"
            .to_owned()
    }

    fn parse(&self, given: &[Given], _cx: &ParseContext<'_>) -> Result<Match, SyntaxError> {
        let text = values::required("comment", given, "comment")?.value();
        let end = text.floor_char_boundary(MAX);
        Ok(Match::Comment(Comment {
            text: text[..end].into(),
        }))
    }

    fn save(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Comment(m) = m else {
            return String::new();
        };
        format!(" --comment{}", values::save_string(&m.text))
    }

    fn print(&self, m: &Match, _cx: &PrintContext<'_>) -> String {
        let Match::Comment(m) = m else {
            return String::new();
        };
        format!(" /* {} */", m.text)
    }
}
