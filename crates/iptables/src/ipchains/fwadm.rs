//! ipfwadm, the language of Linux 2.0, as commands of ipchains.
//!
//! Its four lists are `input`, `output`, `forward` and, for accounting, the chains `acctin`, `acctout` and `acctboth`, which are led
//! to before anything else and whose rules have no target.

use super::{Chains, Error};

fn refused<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Words(text.into()))
}

fn target(word: &str) -> Result<&'static str, Error> {
    match word {
        "accept" | "acc" | "a" => Ok("ACCEPT"),
        "deny" | "den" | "d" => Ok("DENY"),
        "reject" | "rej" | "r" => Ok("REJECT"),
        "masquerade" | "masq" | "m" => Ok("MASQ"),
        other => refused(format!("unknown policy `{other}'")),
    }
}

/// The commands of ipchains that a command of ipfwadm stands for.
pub fn translate(words: &[&str], chains: &Chains) -> Result<Vec<Vec<String>>, Error> {
    let mut given = Given::default();
    given.read(words)?;
    given.commands(chains)
}

#[derive(Default)]
struct Given<'a> {
    list: Option<char>,
    /// `-A in`, `-A out`, `-A both`
    accounting: &'a str,
    action: Option<char>,
    policy: Option<&'static str>,
    protocol: Option<&'a str>,
    source: Vec<&'a str>,
    destinations: Vec<&'a str>,
    interface: Option<&'a str>,
    flags: Vec<&'static str>,
    tos: Option<(&'a str, &'a str)>,
    redirect: Option<&'a str>,
    masquerade: bool,
    acknowledged: bool,
    both_ways: bool,
}

impl<'a> Given<'a> {
    fn read(&mut self, words: &[&'a str]) -> Result<(), Error> {
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| Error::Words(format!("option {word} requires an argument")))
            };
            match word {
                "-I" | "-O" | "-F" => self.list = word.chars().nth(1),
                "-A" => {
                    self.list = Some('A');
                    self.accounting = words.next_if(|word| matches!(*word, "in" | "out" | "both")).unwrap_or("both");
                }
                "-M" => {
                    return refused(
                        "masqueraded connections and their timeouts are the connection table's: list them with conntrack -L",
                    );
                }
                "-a" | "-i" | "-d" => {
                    self.action = word.chars().nth(1);
                    if self.list != Some('A') {
                        self.policy = words.next_if(|word| !word.starts_with('-')).map(target).transpose()?;
                    }
                }
                "-p" => {
                    self.action = Some('p');
                    self.policy = Some(target(value()?)?);
                }
                "-l" | "-f" | "-z" | "-c" => self.action = word.chars().nth(1),
                "-P" => self.protocol = Some(value()?),
                "-S" => {
                    self.source = vec![value()?];
                    while let Some(port) = words.next_if(|word| !word.starts_with('-')) {
                        self.source.push(port);
                    }
                }
                "-D" => {
                    self.destinations = vec![value()?];
                    while let Some(port) = words.next_if(|word| !word.starts_with('-')) {
                        self.destinations.push(port);
                    }
                }
                "-V" => return refused("-V asks for an interface by its address: name the interface with -W"),
                "-W" => self.interface = Some(value()?),
                "-b" => self.both_ways = true,
                "-k" => self.acknowledged = true,
                "-m" => self.masquerade = true,
                "-r" => self.redirect = Some(words.next_if(|word| !word.starts_with('-')).unwrap_or("0")),
                "-t" => {
                    let and = value()?;
                    let xor = words
                        .next()
                        .ok_or_else(|| Error::Words("option -t requires two arguments".to_owned()))?;
                    self.tos = Some((and, xor));
                }
                "-y" => self.flags.push("-y"),
                "-o" => self.flags.push("-l"),
                "-n" => self.flags.push("-n"),
                "-v" | "-e" => self.flags.push("-v"),
                "-x" => self.flags.push("-x"),
                "--print" => self.flags.push("--print"),
                other => return refused(format!("unknown option `{other}'")),
            }
        }
        Ok(())
    }

    fn chain(&self) -> Result<String, Error> {
        Ok(match self.list {
            Some('I') => "input".to_owned(),
            Some('O') => "output".to_owned(),
            Some('F') => "forward".to_owned(),
            Some(_) => format!("acct{}", self.accounting),
            None => return refused("one of -A, -F, -I, -O is wanted"),
        })
    }

    fn commands(&self, chains: &Chains) -> Result<Vec<Vec<String>>, Error> {
        let chain = self.chain()?;
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let mut flags = self.flags.clone();
        if self.both_ways {
            flags.push("-b");
        }
        let printing = self.flags.iter().copied().filter(|flag| *flag == "--print");
        let mut commands = Vec::new();
        // An accounting chain is made, and led to, when it is first used.
        if self.list == Some('A') && chains.chain(&chain).is_none() {
            commands.push(own(&["-N", &chain]));
            let from: &[&str] = match self.accounting {
                "in" => &["input"],
                "out" => &["output"],
                _ => &["input", "output"],
            };
            commands.extend(from.iter().map(|from| own(&["-I", from, "-j", &chain])));
        }
        let with_print = |mut words: Vec<String>| {
            words.extend(printing.clone().map(str::to_owned));
            words
        };
        match self.action {
            Some('p') => commands.push(with_print(own(&["-P", &chain, self.policy.unwrap_or("")]))),
            Some('f') => commands.push(with_print(own(&["-F", &chain]))),
            Some('z') => commands.push(with_print(own(&["-Z", &chain]))),
            Some('l') => {
                let mut words = own(&["-L", &chain]);
                words.extend(self.flags.iter().map(|flag| (*flag).to_owned()));
                commands.push(words);
            }
            Some(action) => {
                let letter = match action {
                    'a' => "-A",
                    'i' => "-I",
                    'd' => "-D",
                    _ => "-C",
                };
                for rule in self.rules()? {
                    let mut words = own(&[letter, &chain]);
                    words.extend(rule);
                    words.extend(flags.iter().map(|flag| (*flag).to_owned()));
                    commands.push(words);
                }
            }
            None => return refused("one of -a, -i, -d, -l, -z, -f, -p, -c is wanted"),
        }
        Ok(commands)
    }

    /// One rule for each pair of ports: ipfwadm takes lists of them.
    fn rules(&self) -> Result<Vec<Vec<String>>, Error> {
        // 2.2 has no word for the ACK bit alone: what doesn't open a connection is nearest.
        if self.acknowledged && self.flags.contains(&"-y") {
            return refused("-k and -y exclude each other");
        }
        let mut fixed: Vec<String> = Vec::new();
        let mut say = |words: &[&str]| fixed.extend(words.iter().map(|word| (*word).to_owned()));
        if let Some(protocol) = self.protocol {
            say(&["-p", protocol]);
        }
        if let Some(interface) = self.interface {
            say(&["-i", interface]);
        }
        if let Some((and, xor)) = self.tos {
            say(&["-t", and, xor]);
        }
        if self.acknowledged {
            say(&["!", "-y"]);
        }
        if let Some(target) = self.target() {
            say(&["-j", target]);
            if let Some(port) = self.redirect.filter(|_| target == "REDIRECT") {
                say(&[port]);
            }
        }
        let mut rules = Vec::new();
        for source in sides("-s", &self.source) {
            for destination in sides("-d", &self.destinations) {
                rules.push([source.clone(), destination, fixed.clone()].concat());
            }
        }
        Ok(rules)
    }

    fn target(&self) -> Option<&'static str> {
        match (self.policy, self.redirect) {
            (Some("ACCEPT"), _) if self.masquerade => Some("MASQ"),
            (Some("ACCEPT"), Some(_)) => Some("REDIRECT"),
            (policy, _) => policy,
        }
    }
}

/// An address with each of its ports; nothing where no address is given.
fn sides(option: &str, words: &[&str]) -> Vec<Vec<String>> {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match words {
        [] => vec![Vec::new()],
        [address] => vec![own(&[option, address])],
        [address, ports @ ..] => ports.iter().map(|port| own(&[option, address, port])).collect(),
    }
}
