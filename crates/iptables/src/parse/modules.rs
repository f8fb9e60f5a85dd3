//! The matches and the target that a command line loads, and the options given to each.

use std::sync::Arc;

use fielato_netfilter::syntax::{Arguments, Given, MatchSyntax, Names, OptionSpec, ParseContext, TargetSyntax};
use fielato_netfilter::{Match, Target};
use fielato_wire::Family;

use super::getopt::Getopt;
use super::{MAX_NAME, parameter, standard_target};
use crate::error::Error;
use crate::names::protocol_name;
use crate::registry::Registry;

enum Syntax<'a> {
    Match(&'a Arc<dyn MatchSyntax>),
    Target(&'a Arc<dyn TargetSyntax>),
}

impl Syntax<'_> {
    fn name(&self) -> &'static str {
        match self {
            Syntax::Match(syntax) => syntax.name(),
            Syntax::Target(syntax) => syntax.name(),
        }
    }
}

/// One `-m` or `-j`.
struct Instance<'a> {
    syntax: Syntax<'a>,
    /// The options' number with [`Getopt`]; a second `-m` of the same name has the same.
    module: usize,
    given: Vec<Given>,
}

pub(super) struct Modules<'a> {
    registry: &'a Registry,
    family: Family,
    instances: Vec<Instance<'a>>,
    /// The match of `-p` was loaded for an option that nobody else knew.
    protocol_used: bool,
}

/// Old names of the ICMPv6 match.
fn match_name(name: &str) -> &str {
    match name {
        "icmpv6" | "ipv6-icmp" => "icmp6",
        name => name,
    }
}

impl<'a> Modules<'a> {
    pub(super) fn new(registry: &'a Registry, family: Family) -> Modules<'a> {
        Modules {
            registry,
            family,
            instances: Vec::new(),
            protocol_used: false,
        }
    }

    /// `-m`
    pub(super) fn load_match(&mut self, name: &str, options: &mut Getopt<'_>) -> Result<(), Error> {
        if name.len() >= MAX_NAME {
            return parameter(format!("Invalid match name \"{name}\" ({} chars max)", MAX_NAME - 1));
        }
        match self.registry.find_match(match_name(name), self.family) {
            Some(syntax) => self.add_match(syntax, options),
            None => return parameter(format!("Couldn't load match `{name}':No such file or directory\n")),
        }
        Ok(())
    }

    fn add_match(&mut self, syntax: &'a Arc<dyn MatchSyntax>, options: &mut Getopt<'_>) {
        let before = self
            .instances
            .iter()
            .find(|instance| matches!(instance.syntax, Syntax::Match(known) if known.name() == syntax.name()));
        let module = match before {
            Some(instance) => instance.module,
            None => options.load(syntax.options()),
        };
        self.instances.push(Instance {
            syntax: Syntax::Match(syntax),
            module,
            given: Vec::new(),
        });
    }

    /// `-j`; the name may be a chain's.
    pub(super) fn load_target(&mut self, name: &str, options: &mut Getopt<'_>) {
        if standard_target(name).is_some() {
            return;
        }
        if let Some(syntax) = self.registry.find_target(name, self.family) {
            let module = options.load(syntax.options());
            self.instances.push(Instance {
                syntax: Syntax::Target(syntax),
                module,
                given: Vec::new(),
            });
        }
    }

    /// For an option that nobody knows: loads the match of `-p`, once. Tells whether there was one to load.
    pub(super) fn load_protocol(&mut self, protocol: Option<&str>, names: &dyn Names, options: &mut Getopt<'_>) -> bool {
        let Some(protocol) = protocol else { return false };
        if self.protocol_used {
            return false;
        }
        let name = match crate::text::number(protocol, 0, 255) {
            Some(number) => protocol_name(number as u8, false, names),
            None => Some(protocol.to_owned()),
        };
        let found = name.and_then(|name| self.registry.find_match(match_name(&name), self.family));
        let Some(syntax) = found else { return false };
        self.protocol_used = true;
        self.add_match(syntax, options);
        true
    }

    /// For `-p tcp -h`: the protocol's match, if none was named.
    pub(super) fn load_for_help(&mut self, protocol: Option<&str>) {
        let has_match = self
            .instances
            .iter()
            .any(|instance| matches!(instance.syntax, Syntax::Match(_)));
        if let Some(protocol) = protocol.filter(|_| !has_match)
            && let Some(syntax) = self.registry.find_match(match_name(protocol), self.family)
        {
            self.add_match(syntax, &mut Getopt::new(&[]));
        }
    }

    /// The help of what is loaded: targets, then matches.
    pub(super) fn help(&self) -> String {
        let targets = self.instances.iter().filter_map(|instance| match instance.syntax {
            Syntax::Target(syntax) => Some(syntax.help(self.family)),
            Syntax::Match(_) => None,
        });
        let matches = self.instances.iter().filter_map(|instance| match instance.syntax {
            Syntax::Match(syntax) => Some(syntax.help(self.family)),
            Syntax::Target(_) => None,
        });
        let mut text = String::new();
        for help in targets.chain(matches) {
            text.push('\n');
            text.push_str(help.trim_matches('\n'));
            text.push('\n');
        }
        text
    }

    /// Gives an option to the newest instance of its module.
    pub(super) fn give(
        &mut self,
        module: usize,
        spec: &'static OptionSpec,
        first: Option<&str>,
        second: Option<&str>,
        negated: bool,
    ) -> Result<(), Error> {
        let newest = self.instances.iter_mut().rev().find(|instance| instance.module == module);
        let Some(instance) = newest else { return Ok(()) };
        let name = instance.syntax.name();
        if negated && !spec.negatable {
            return parameter(format!("{name}: option \"--{}\" cannot be inverted.\n", spec.name));
        }
        if !spec.repeatable && instance.given.iter().any(|given| given.option == spec.canonical) {
            return parameter(format!("{name}: option \"--{}\" can only be used once.\n", spec.name));
        }
        if spec.arguments == Arguments::Two && second.is_none() {
            return parameter(format!("--{} requires two args.", spec.name));
        }
        let words = first
            .into_iter()
            .chain(second.filter(|_| matches!(spec.arguments, Arguments::Two | Arguments::Optional)));
        instance.given.push(Given {
            option: spec.canonical,
            written: spec.name,
            values: words.map(str::to_owned).collect(),
            negated,
        });
        Ok(())
    }

    /// The matches in their order, and the target.
    pub(super) fn build(&self, cx: &ParseContext<'_>) -> Result<(Vec<Match>, Option<Target>), Error> {
        let refused = |error: fielato_netfilter::syntax::SyntaxError| Error::Parameter(error.message);
        let mut matches = Vec::new();
        let mut target = None;
        for instance in &self.instances {
            match instance.syntax {
                Syntax::Match(syntax) => matches.push(syntax.parse(&instance.given, cx).map_err(refused)?),
                Syntax::Target(syntax) => target = Some(syntax.parse(&instance.given, cx).map_err(refused)?),
            }
        }
        Ok((matches, target))
    }
}
