//! The talk's network as a configuration, and commands in a network namespace of their own.

// Each test file uses a part of it.
#![allow(dead_code)]

use fielato_policy::plan::PerFamily;
use fielato_policy::{Circumstances, Config, HostPlan, Plan};
use jiff::Timestamp;

pub const NOW: &str = "2026-06-01T12:00:00Z";

pub const A: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
pub const B: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// Hub 192.168.4.1 and 10.0.123.2, client-a, client-b with a service on 1234.
pub fn talk() -> String {
    format!(
        r#"# The talk's three machines.
[hub]
interface = "wg0"
endpoint = "10.0.123.2:51820"
addresses = ["192.168.4.1/24"]
uplink = "eth0"

[member.client-a]      # wireguard-go
addresses = ["192.168.4.2"]
public_key = "{A}"

[member.client-b]      # ours
addresses = ["192.168.4.3"]
public_key = "{B}"

[host.client-b]
address = "10.0.123.4"
strategy = "source"

[service.echo]
host = "client-b"
ports = ["tcp/1234"]

[[rule]]
from = "members"
to = "members"
action = "accept"

[[rule]]
from = "members"
to = ["echo", "hub"]
action = "accept"
"#
    )
}

/// Both families, groups, every kind of party, ports and action, classes on both devices.
pub fn full() -> String {
    format!(
        r#"[hub]
interface = "wg0"
endpoint = "vpn.example.org:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
source = ["10.0.123.2", "2001:db8::2"]
lab = ["10.0.124.0/24"]
dns = ["9.9.9.9"]

[hub.guard]
uplink = true

[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{A}"
groups = ["lab-staff", "lab.staff"]
keepalive = 25

[member.bob]
addresses = ["fd00:4::3"]
public_key = "{B}"
groups = ["lab-staff"]
route = "all"
expires = 2026-12-31T00:00:00Z

[host.server]
address = ["10.0.123.4", "2001:db8::4"]
strategy = "source"

[host.bob]
address = "10.0.123.5"
strategy = "member"

[service.web]
host = "server"
ports = ["tcp/443", "tcp/80-90", "udp/443"]

[service.shell]
host = "bob"
ports = ["tcp/22"]

[[rule]]
from = "alice"
to = ["10.0.123.66", "2001:db8:bad::/48"]
action = "drop"

[[rule]]
from = "lab-staff"
to = ["web", "shell"]
action = "accept"

[[rule]]
from = "lab.staff"
to = ["web", "shell"]
action = "accept"

[[rule]]
from = "members"
to = ["internet", "hub"]
action = "accept"

[[rule]]
from = ["server", "10.0.0.0/8", "10.1.0.0/16"]
to = "members"
action = "accept"

[[rule]]
from = "internet"
to = "alice"
action = "reject"

[[rule]]
from = "any"
to = "any"
action = "reject"

[[shape]]
qdisc = "root handle 1: htb default 30"

[[shape]]
class = "parent 1: classid 1:10 htb rate 10mbit"
for = "alice"

[[shape]]
class = "parent 1: classid 1:1a htb rate 1mbit"
for = ["lab-staff", "192.168.4.0/28", "members"]

[[shape]]
dev = "eth0"
qdisc = "root handle 2: htb"

[[shape]]
dev = "eth0"
class = "parent 2: classid 2:1 htb rate 5mbit"
for = "members"

[[ban]]
address = "203.0.113.0/24"
until = 2026-12-31T00:00:00Z
"#
    )
}

pub fn config(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|found| panic!("{}", found.display("fielato.toml", text)))
}

pub fn plan(text: &str) -> Plan {
    plan_at(text, NOW)
}

pub fn plan_at(text: &str, now: &str) -> Plan {
    compile(&config(text), now.parse::<Timestamp>().unwrap(), PerFamily::default())
}

pub fn host(config: &Config, name: &str) -> Option<HostPlan> {
    HostPlan::compile(config, name, &Circumstances::at(NOW.parse().unwrap(), PerFamily::default()))
}

pub fn compile(config: &Config, now: Timestamp, before: PerFamily<bool>) -> Plan {
    Plan::compile(config, &Circumstances::at(now, before))
}

/// Runs a shell script in a fresh network namespace, which goes away with it; its output. `None`, with
/// a line that says so, when this is not root.
pub fn in_namespace(test: &str, script: &str, input: &str) -> Option<String> {
    if !fielato_testkit::root(test) {
        return None;
    }
    let output = fielato_testkit::run("unshare", &["-n", "sh", "-euc", script], input);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script}\n{input}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(text)
}
