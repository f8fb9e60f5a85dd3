//! ping(8), and what it says.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::interrupt::Interrupt;
use crate::machine::Machine;

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

    pub(super) const fn of(count: u32) -> Self {
        Self {
            count,
            interval: Duration::from_millis(50),
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
