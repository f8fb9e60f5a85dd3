//! A case as it was recorded: policy, packets, and all that one engine made of them. Also as a text file.

use std::fmt::Write as _;
use std::time::Duration;

use fielato_oracle::case::Step;
use fielato_oracle::error::Error;
use fielato_oracle::hex;
use fielato_oracle::subject::{Connection, Output, Port};

use crate::scene::Setup;
use crate::subject::Tallies;

/// A case and what one engine made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Policy and settings.
    pub setup: Setup,
    /// Packets in order.
    pub steps: Vec<Step>,
    /// What packets met.
    pub tallies: Tallies,
    /// Connections at the end.
    pub connections: Vec<Connection>,
}

impl Case {
    /// As a regression file: settings, policy, packets with what came out, and what there was at the end.
    pub fn to_text(&self) -> String {
        let Setup {
            policy,
            forwards_v4,
            forwards_v6,
            tcp_loose,
            tcp_liberal,
            checksum,
            rp_filter,
        } = &self.setup;
        let mut text = String::new();
        for (name, value) in [
            ("forwards_v4", u8::from(*forwards_v4)),
            ("forwards_v6", u8::from(*forwards_v6)),
            ("tcp_loose", u8::from(*tcp_loose)),
            ("tcp_liberal", u8::from(*tcp_liberal)),
            ("checksum", u8::from(*checksum)),
            ("rp_filter", *rp_filter),
        ] {
            let _ = writeln!(text, "set {name} {value}");
        }
        let _ = write!(text, "policy\n{}\nend\n", policy.trim_end());
        for step in &self.steps {
            let _ = writeln!(
                text,
                "in {} {} {}",
                step.at.as_micros(),
                step.port.name(),
                hex::encode(&step.packet)
            );
            for output in &step.outputs {
                let _ = writeln!(text, "out {} {}", output.port.name(), hex::encode(&output.packet));
            }
        }
        for (name, (packets, bytes)) in &self.tallies {
            let _ = writeln!(text, "tally {packets} {bytes} {name}");
        }
        for connection in &self.connections {
            let _ = writeln!(text, "connection {connection}");
        }
        text
    }

    /// Reads what [`Case::to_text`] wrote. Lines that begin with `#` are remarks.
    ///
    /// # Errors
    /// [`Error::CaseFile`].
    pub fn from_text(file: &str, text: &str) -> Result<Case, Error> {
        let mut case = Case {
            setup: Setup {
                policy: String::new(),
                forwards_v4: false,
                forwards_v6: false,
                tcp_loose: true,
                tcp_liberal: false,
                checksum: true,
                rp_filter: 0,
            },
            steps: Vec::new(),
            tallies: Tallies::new(),
            connections: Vec::new(),
        };
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let wrong = |why: &str| Error::CaseFile {
                file: file.to_owned(),
                line: index + 1,
                why: why.to_owned(),
            };
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "" => {}
                _ if line.starts_with('#') => {}
                "set" => set(&mut case.setup, rest).ok_or_else(|| wrong("no such setting"))?,
                "policy" => {
                    let policy = lines
                        .by_ref()
                        .map_while(|(_, line)| (line != "end").then(|| format!("{line}\n")));
                    case.setup.policy = policy.collect();
                }
                "in" => case
                    .steps
                    .push(read_in(rest).ok_or_else(|| wrong("in MICROSECONDS PORT HEX"))?),
                "out" => {
                    let output = read_out(rest).ok_or_else(|| wrong("out PORT HEX"))?;
                    let step = case.steps.last_mut().ok_or_else(|| wrong("out before any in"))?;
                    step.outputs.push(output);
                }
                "tally" => {
                    let (name, counts) = read_tally(rest).ok_or_else(|| wrong("tally PACKETS BYTES NAME"))?;
                    case.tallies.insert(name, counts);
                }
                "connection" => case.connections.push(rest.parse::<Connection>().map_err(|why| wrong(&why))?),
                _ => return Err(wrong("nothing begins with that word")),
            }
        }
        Ok(case)
    }
}

fn set(setup: &mut Setup, text: &str) -> Option<()> {
    let (name, value) = text.split_once(' ')?;
    let flag = match name {
        "forwards_v4" => &mut setup.forwards_v4,
        "forwards_v6" => &mut setup.forwards_v6,
        "tcp_loose" => &mut setup.tcp_loose,
        "tcp_liberal" => &mut setup.tcp_liberal,
        "checksum" => &mut setup.checksum,
        "rp_filter" => {
            setup.rp_filter = value.parse().ok()?;
            return Some(());
        }
        _ => return None,
    };
    *flag = value == "1";
    Some(())
}

fn read_in(text: &str) -> Option<Step> {
    let mut words = text.split(' ');
    Some(Step {
        at: Duration::from_micros(words.next()?.parse().ok()?),
        port: Port::from_name(words.next()?)?,
        packet: hex::decode(words.next()?)?,
        outputs: Vec::new(),
    })
}

fn read_out(text: &str) -> Option<Output> {
    let (port, packet) = text.split_once(' ')?;
    Some(Output {
        port: Port::from_name(port)?,
        packet: hex::decode(packet)?,
    })
}

fn read_tally(text: &str) -> Option<(String, (u64, u64))> {
    let mut words = text.splitn(3, ' ');
    let counts = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((words.next()?.to_owned(), counts))
}
