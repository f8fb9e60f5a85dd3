//! The talk's network as a configuration, and commands in a network namespace of their own.

// Each test file uses a part of it.
#![allow(dead_code)]

use fielato_policy::plan::PerFamily;
use fielato_policy::{Circumstances, Config, HostPlan, Plan};
use jiff::Timestamp;

pub const NOW: &str = "2026-06-01T12:00:00Z";

pub const A: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
pub const B: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

pub const C: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

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

/// What the language has beside [`full`]: nested groups, hosts in groups, several hosts of a service, hours, limits, rates, quotas, published
/// ports, raw rules, tests.
pub fn rich() -> String {
    format!(
        r#"[hub]
interface = "wg0"
endpoint = "vpn.example.org:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
source = ["10.0.123.2", "2001:db8::2"]

[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{A}"
groups = ["staff"]
rate = "20mbit"
ceil = "50mbit"
priority = 2

[member.bob]
addresses = ["192.168.4.3", "fd00:4::3"]
public_key = "{B}"
route = "all"
quota = "50GB/month"

[member.carol]
addresses = ["192.168.4.4", "fd00:4::4"]
public_key = "{C}"
quota = "1GiB/day"
over = "throttle 1mbit"

[host.server]
address = ["10.0.123.4", "2001:db8::4"]
strategy = "source"
groups = ["servers"]

[host.archive]
address = "10.0.123.6"
strategy = "source"

[host.bob]
address = "10.0.123.5"
strategy = "member"

[group.servers]
hosts = ["archive"]

[group.everybody]
groups = ["staff", "interns"]
rate = "100mbit"

[group.interns]
members = ["carol"]
hosts = ["bob"]
rate = "10mbit"
priority = 5
quota = "10GB/week"

[service.web]
host = "servers"
ports = ["tcp/443", "sctp/3868-3870"]

[service.shell]
host = "bob"
ports = ["tcp/22"]

[[rule]]
name = "interns"
from = "interns"
to = "any"
action = "log"

[[rule]]
from = "interns"
to = ["web", "hub"]
action = "limit"
limit = "10/minute"
burst = 3

[[rule]]
from = "everybody"
to = ["web", "shell", "interns"]
action = "allow"
when = {{ days = "mon-fri", hours = "08:00-18:00", zone = "Europe/Madrid" }}

[[rule]]
from = "alice"
to = "internet"
action = "accept"
until = 2026-06-30T00:00:00Z

[[rule]]
from = "servers"
to = "members"
action = "deny"

[nat]
masquerade = true

[[nat.publish]]
port = "tcp/8443"
to = "server"
to_port = 443
from = ["203.0.113.0/24", "2001:db8:77::/48", "internet"]

[[nat.publish]]
port = "udp/5000-5010"
to = "carol"
address = ["10.0.123.2", "2001:db8::2"]

[raw]
rules = [
    "-A FORWARD -p gre -j ACCEPT",
    "-A INPUT -s 192.168.4.2 -p tcp --dport 9100 -j ACCEPT",
    "-t nat -A POSTROUTING -s 192.168.4.2 -d 10.9.0.0/16 -j SNAT --to-source 10.0.123.9",
]

[[test]]
from = "alice"
to = ["web", "server:22/tcp"]
expect = "drop"
via = "wg0"
rate = "20mbit"
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
