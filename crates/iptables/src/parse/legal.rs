//! Which commands and options go together.

use super::parameter;
use crate::error::Error;

/// An option of the language whose legality depends on the command; the order is that in which they are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    Numeric,
    Source,
    Destination,
    Protocol,
    Jump,
    Verbose,
    Exact,
    InInterface,
    OutInterface,
    LineNumbers,
    Counters,
    Fragment,
}

const FLAGS: [Flag; 12] = [
    Flag::Numeric,
    Flag::Source,
    Flag::Destination,
    Flag::Protocol,
    Flag::Jump,
    Flag::Verbose,
    Flag::Exact,
    Flag::InInterface,
    Flag::OutInterface,
    Flag::LineNumbers,
    Flag::Counters,
    Flag::Fragment,
];

impl Flag {
    /// The letter in messages.
    fn letter(self) -> char {
        match self {
            Flag::Numeric => 'n',
            Flag::Source => 's',
            Flag::Destination => 'd',
            Flag::Protocol => 'p',
            Flag::Jump => 'j',
            Flag::Verbose => 'v',
            Flag::Exact => 'x',
            Flag::InInterface => 'i',
            Flag::OutInterface => 'o',
            Flag::LineNumbers => '0',
            Flag::Counters => 'c',
            Flag::Fragment => 'f',
        }
    }

    fn negatable(self) -> bool {
        matches!(
            self,
            Flag::Source | Flag::Destination | Flag::Protocol | Flag::InInterface | Flag::OutInterface | Flag::Fragment
        )
    }
}

/// The options given.
#[derive(Clone, Copy, Default)]
pub(super) struct FlagSet(u16);

impl FlagSet {
    pub(super) fn has(self, flag: Flag) -> bool {
        self.0 & 1 << flag as u16 != 0
    }

    /// Notes an option; refuses it a second time, or with a `!` that it can't have.
    pub(super) fn set(&mut self, flag: Flag, invert: bool) -> Result<(), Error> {
        if self.has(flag) {
            return parameter(format!("multiple -{} flags not allowed", flag.letter()));
        }
        self.0 |= 1 << flag as u16;
        if invert && !flag.negatable() {
            return parameter(format!("cannot have ! before -{}", flag.letter()));
        }
        Ok(())
    }
}

/// Commands in the order of iptables' own bits, by which its messages choose; `d` and `z` are -D and -Z with a number.
const COMMANDS: &[u8; 15] = b"IDdRALFZNXPESzC";

/// The commands given: one, or a listing and -Z.
#[derive(Clone, Copy, Default)]
pub(super) struct CommandSet(u16);

fn bit(command: u8) -> u16 {
    COMMANDS.iter().position(|&known| known == command).map_or(0, |at| 1 << at)
}

impl CommandSet {
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn is(self, command: u8) -> bool {
        self.0 == bit(command)
    }

    pub(super) fn has(self, command: u8) -> bool {
        self.0 & bit(command) != 0
    }

    pub(super) fn has_zero_number(self) -> bool {
        self.has(b'z')
    }

    /// Adds a command; refuses one that can't stand with those before it.
    pub(super) fn add(&mut self, command: u8, invert: bool) -> Result<(), Error> {
        if invert {
            return parameter("unexpected '!' flag");
        }
        let beside = match command {
            b'L' | b'S' => bit(b'Z') | bit(b'z'),
            b'Z' => bit(b'L') | bit(b'S'),
            _ => 0,
        };
        if let Some(other) = letter(self.0 & !beside) {
            return parameter(format!("Cannot use -{} with -{other}", command as char));
        }
        self.0 |= bit(command);
        Ok(())
    }

    /// -D or -Z has a number: it is the command now, whatever stood before.
    pub(super) fn numbered(&mut self, command: u8) {
        self.0 = bit(command.to_ascii_lowercase());
    }

    /// The command, by its letter; a listing when -Z stands beside it.
    pub(super) fn first(self) -> u8 {
        let listing = [b'L', b'S'].into_iter().find(|&listing| self.has(listing));
        let only = || COMMANDS.iter().copied().find(|&command| self.has(command));
        listing.or_else(only).unwrap_or(0).to_ascii_uppercase()
    }

    /// Whether it names a rule's chain and may have interfaces.
    pub(super) fn takes_rule(self) -> bool {
        b"ADdCIR".iter().any(|&command| self.is(command))
    }

    /// Refuses options that none of the commands can have.
    pub(super) fn check_options(self, given: FlagSet) -> Result<(), Error> {
        for flag in FLAGS.into_iter().filter(|&flag| given.has(flag)) {
            let mut commands = COMMANDS.iter().filter(|&&command| self.has(command));
            if !commands.any(|&command| allowed(command, flag)) {
                return parameter(format!("Illegal option `-{}' with this command", flag.letter()));
            }
        }
        Ok(())
    }
}

/// The letter of the highest command in a set.
fn letter(set: u16) -> Option<char> {
    let highest = set.checked_ilog2()?;
    COMMANDS
        .get(highest as usize)
        .map(|letter| letter.to_ascii_uppercase() as char)
}

fn allowed(command: u8, flag: Flag) -> bool {
    match (command, flag) {
        (_, Flag::Verbose) => true,
        (b'L', Flag::Numeric | Flag::Exact | Flag::LineNumbers) => true,
        (b'I' | b'R' | b'A' | b'P', Flag::Counters) => true,
        (b'I' | b'D' | b'R' | b'A' | b'C', flag) => {
            !matches!(flag, Flag::Numeric | Flag::Exact | Flag::LineNumbers | Flag::Counters)
        }
        _ => false,
    }
}
