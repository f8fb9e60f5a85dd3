//! ping(8), and what it says.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Talk;
use crate::interrupt::Interrupt;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::topology::{Family, Node};

/// How pings are sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ping {
    pub(super) count: u32,
    /// Between two of them.
    pub(super) interval: Duration,
    /// For each answer.
    pub(super) patience: Duration,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pong {
    pub(super) sent: u32,
    pub(super) received: u32,
    /// Shortest round trip; nothing when nothing came back.
    pub(super) shortest: Option<Duration>,
}

impl Ping {
    /// Enough to see that there is a way.
    pub(super) const A_FEW: Self = Self::of(3);

    /// iputils waits for the last answer no longer than the interval or twice the longest round trip so far, so the interval
    /// is what a busy machine may take.
    pub(super) const fn of(count: u32) -> Self {
        Self {
            count,
            interval: Duration::from_millis(300),
            patience: Duration::from_secs(3),
        }
    }

    /// For pings that are expected to be lost.
    pub(super) const fn lost(count: u32) -> Self {
        Self {
            count,
            interval: Duration::from_millis(50),
            patience: Duration::from_secs(1),
        }
    }

    pub(super) fn send(self, from: &Machine, to: IpAddr, interrupt: &Interrupt) -> Result<Pong> {
        let arguments = [
            "-n".to_owned(),
            "-q".to_owned(),
            format!("-c{}", self.count),
            format!("-i{}", self.interval.as_secs_f32()),
            format!("-W{}", self.patience.as_secs_f32()),
            to.to_string(),
        ];
        let output = from.call("ping", arguments).run(interrupt)?;
        // ping(8): 1 when some answer is missing, 2 for other errors.
        if output.status.code() == Some(2) {
            return Err(output.error());
        }
        parse(&output.stdout).with_context(|| format!("ping said what is not understood: {}", output.stdout))
    }
}

/// Several at once; the answers come in the same order.
pub(super) fn send_all(lab: &Lab, ways: &[Way], interrupt: &Interrupt) -> Result<Vec<Pong>> {
    std::thread::scope(|scope| {
        let pinging: Vec<_> = ways
            .iter()
            .map(|way| scope.spawn(|| way.ping.send(lab.machine(way.from), way.to.overlay(way.family), interrupt)))
            .collect();
        pinging
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

impl Talk<'_, '_, '_> {
    /// Pings between these machines in the overlay, by both families and all at once: all of them are answered.
    pub(super) fn expect_answers(&mut self, when: &str, pairs: &[(Node, Node)]) -> Result<()> {
        self.expect(when, pairs, Ping::A_FEW, Ping::A_FEW.count)
    }

    /// As [`Talk::expect_answers`], but none of `count` pings is answered.
    pub(super) fn expect_loss(&mut self, when: &str, pairs: &[(Node, Node)], count: u32) -> Result<()> {
        self.expect(when, pairs, Ping::lost(count), 0)
    }

    fn expect(&mut self, when: &str, pairs: &[(Node, Node)], ping: Ping, answers: u32) -> Result<()> {
        let both = |&(from, to)| Family::BOTH.map(|family| Way { from, to, family, ping });
        let ways: Vec<Way> = pairs.iter().flat_map(both).collect();
        for (way, pong) in ways.iter().zip(send_all(self.lab, &ways, self.interrupt)?) {
            let expected = format!("{answers} of {} answered", ping.count);
            let passed = (pong.sent, pong.received) == (ping.count, answers);
            self.recorder
                .check(format!("{when}{way}"), expected, pong.to_string(), passed)?;
        }
        Ok(())
    }
}

/// From whom to whom, in the overlay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) from: Node,
    pub(super) to: Node,
    pub(super) family: Family,
    pub(super) ping: Ping,
}

impl std::fmt::Display for Way {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ping {} → {}, {}", self.from, self.to, self.family)
    }
}

impl Pong {
    pub(super) const fn all(self) -> bool {
        self.sent > 0 && self.received == self.sent
    }
}

impl std::fmt::Display for Pong {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} of {} answered", self.received, self.sent)?;
        match self.shortest {
            Some(shortest) => write!(formatter, ", {:.1} ms", shortest.as_secs_f64() * 1e3),
            None => Ok(()),
        }
    }
}

fn parse(text: &str) -> Option<Pong> {
    let counts = text.lines().find(|line| line.contains("packets transmitted"))?;
    let mut words = counts.split(", ").map(|part| part.split(' ').next().unwrap_or_default());
    let sent = words.next()?.parse().ok()?;
    let received = words.next()?.parse().ok()?;
    let shortest = text
        .lines()
        .find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "))
        .and_then(|times| {
            let milliseconds: f64 = times.split('/').next()?.parse().ok()?;
            Some(Duration::from_secs_f64(milliseconds / 1e3))
        });
    Some(Pong {
        sent,
        received,
        shortest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ping_says() {
        let good = "PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.\n\n--- 10.0.0.1 ping statistics ---\n3 packets transmitted, 3 received, 0% packet loss, time 2003ms\nrtt min/avg/max/mdev = 0.050/0.060/0.070/0.008 ms\n";
        assert_eq!(
            parse(good),
            Some(Pong {
                sent: 3,
                received: 3,
                shortest: Some(Duration::from_micros(50))
            })
        );
        let lost =
            "--- 10.0.0.1 ping statistics ---\n3 packets transmitted, 0 received, +1 errors, 100% packet loss, time 2003ms\n";
        assert_eq!(
            parse(lost),
            Some(Pong {
                sent: 3,
                received: 0,
                shortest: None
            })
        );
        assert_eq!(parse("ping: what?"), None);
        assert!(
            !Pong {
                sent: 0,
                received: 0,
                shortest: None
            }
            .all()
        );
    }
}
