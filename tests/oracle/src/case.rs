//! A case as it was recorded: rules, packets, and all that the kernel made of them. Also as a text file.

use std::fmt::Write as _;
use std::time::Duration;

use crate::error::Error;
use crate::hex;
use crate::subject::{Connection, Counter, Output, Port, Setup};

/// A packet that went in and those that came out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the case began.
    pub at: Duration,
    /// Where it went in.
    pub port: Port,
    /// From the IP header on.
    pub packet: Vec<u8>,
    /// What came out.
    pub outputs: Vec<Output>,
}

/// A case and what one subject made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Rules and settings.
    pub setup: Setup,
    /// Packets in order.
    pub steps: Vec<Step>,
    /// Counters at the end.
    pub counters: Vec<Counter>,
    /// Connections at the end.
    pub connections: Vec<Connection>,
}

impl Trace {
    /// As a regression file: settings, rules, packets with what came out, and the counters and connections at the end.
    pub fn to_text(&self) -> String {
        let mut setup = self.setup.clone();
        let mut text = String::new();
        for (name, value) in SETTINGS.iter().zip(settings(&mut setup)) {
            let _ = writeln!(text, "set {name} {}", u8::from(*value));
        }
        for (name, rules) in [("rules4", &setup.rules_v4), ("rules6", &setup.rules_v6)] {
            let _ = write!(text, "{name}\n{rules}end\n");
        }
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
        for counter in &self.counters {
            let _ = writeln!(
                text,
                "counter {} {} {} {} {} {}",
                if counter.v6 { 6 } else { 4 },
                counter.table,
                counter.chain,
                counter.rule.map_or_else(|| "policy".to_owned(), |rule| rule.to_string()),
                counter.packets,
                counter.bytes
            );
        }
        for connection in &self.connections {
            let _ = writeln!(text, "connection {connection}");
        }
        text
    }

    /// Reads what [`Trace::to_text`] wrote. Lines that begin with `#` are remarks.
    ///
    /// # Errors
    /// [`Error::CaseFile`].
    pub fn from_text(file: &str, text: &str) -> Result<Trace, Error> {
        let mut trace = Trace {
            setup: Setup {
                tracking: true,
                tcp_loose: true,
                tcp_liberal: false,
                checksum: true,
                paced: false,
                rules_v4: String::new(),
                rules_v6: String::new(),
            },
            steps: Vec::new(),
            counters: Vec::new(),
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
                "set" => set(&mut trace.setup, rest).ok_or_else(|| wrong("no such setting"))?,
                "rules4" | "rules6" => {
                    let rules: String = lines
                        .by_ref()
                        .map_while(|(_, line)| (line != "end").then(|| format!("{line}\n")))
                        .collect();
                    match word {
                        "rules4" => trace.setup.rules_v4 = rules,
                        _ => trace.setup.rules_v6 = rules,
                    }
                }
                "in" => trace
                    .steps
                    .push(read_in(rest).ok_or_else(|| wrong("in MICROSECONDS PORT HEX"))?),
                "out" => {
                    let output = read_out(rest).ok_or_else(|| wrong("out PORT HEX"))?;
                    let step = trace.steps.last_mut().ok_or_else(|| wrong("an output before any input"))?;
                    step.outputs.push(output);
                }
                "counter" => {
                    let counter = read_counter(rest).ok_or_else(|| wrong("counter FAMILY TABLE CHAIN RULE PACKETS BYTES"))?;
                    trace.counters.push(counter);
                }
                "connection" => {
                    let connection = rest.parse().map_err(|why: String| wrong(&why))?;
                    trace.connections.push(connection);
                }
                _ => return Err(wrong("no such word")),
            }
        }
        Ok(trace)
    }
}

const SETTINGS: [&str; 5] = ["tracking", "tcp_loose", "tcp_liberal", "checksum", "paced"];

/// The settings by [`SETTINGS`].
fn settings(setup: &mut Setup) -> [&mut bool; 5] {
    let Setup {
        tracking,
        tcp_loose,
        tcp_liberal,
        checksum,
        paced,
        rules_v4: _,
        rules_v6: _,
    } = setup;
    [tracking, tcp_loose, tcp_liberal, checksum, paced]
}

fn set(setup: &mut Setup, text: &str) -> Option<()> {
    let (name, value) = text.split_once(' ')?;
    let index = SETTINGS.iter().position(|known| *known == name)?;
    *settings(setup)[index] = match value {
        "0" => false,
        "1" => true,
        _ => return None,
    };
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

fn read_counter(text: &str) -> Option<Counter> {
    let words: Vec<&str> = text.split(' ').collect();
    let [family, table, chain, rule, packets, bytes] = words[..] else {
        return None;
    };
    Some(Counter {
        v6: family == "6",
        table: table.to_owned(),
        chain: chain.to_owned(),
        rule: match rule {
            "policy" => None,
            number => Some(number.parse().ok()?),
        },
        packets: packets.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Tuple;

    #[test]
    fn text_comes_back() {
        let tuple = |last| Tuple {
            src: fielato_wire::Addr { hi: 0, lo: 0x0a00_0001 },
            dst: fielato_wire::Addr { hi: 0, lo: last },
            sport: 1,
            dport: 2,
        };
        let trace = Trace {
            setup: Setup {
                tracking: true,
                tcp_loose: false,
                tcp_liberal: true,
                checksum: false,
                paced: true,
                rules_v4: "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n".to_owned(),
                rules_v6: String::new(),
            },
            steps: vec![Step {
                at: Duration::from_micros(12),
                port: Port::Inside,
                packet: vec![0x45, 0],
                outputs: vec![Output {
                    port: Port::Host,
                    packet: vec![1],
                }],
            }],
            counters: vec![Counter {
                table: "filter".to_owned(),
                chain: "INPUT".to_owned(),
                v6: true,
                rule: Some(3),
                packets: 3,
                bytes: 4,
            }],
            connections: vec![Connection {
                v6: false,
                protocol: 6,
                original: tuple(7),
                reply: tuple(8),
                zones: [1, 2],
                status: 0b110,
                mark: 9,
                counters: [(1, 2), (3, 4)],
                state: Some(3),
                helper: Some("ftp".to_owned()),
                master: Some(tuple(9)),
                timeout: 100,
            }],
        };
        assert_eq!(Trace::from_text("x", &trace.to_text()).unwrap(), trace);
        assert!(Trace::from_text("x", "out tun0 00").is_err());
        assert!(Trace::from_text("x", "connection 4").is_err());
    }
}
