//! `fielato.toml`: any text is a policy, or refused with the place in it.

use fielato_gateway::{Gateway, Now};
use fielato_policy::gateway::{self, Uplink};
use fielato_policy::{Circumstances, Config, HostPlan, Plan, render};
use jiff::Timestamp;

/// A refusal names places of the text, and shows no more than them. A policy compiles: its rules are written, make a gateway, and the
/// plan reads back as it was written.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(faults) => {
            assert!(!faults.0.is_empty());
            let lines = text.split('\n').count();
            for fault in &faults.0 {
                assert!(
                    (1..=lines).contains(&fault.line) && fault.column >= 1,
                    "{fault:?} of {lines} lines"
                );
            }
            assert!(!faults.display("fielato.toml", text).to_string().is_empty());
            return;
        }
    };
    let now = Timestamp::from_second(1_780_000_000).expect("a time");
    let circumstances = Circumstances::at(now, Default::default());
    let plan = Plan::compile(&config, &circumstances);
    let written = serde_json::to_vec(&plan).expect("a plan can be written");
    let read: Plan = serde_json::from_slice(&written).expect("and read");
    assert_eq!(read, plan);
    assert!(render::nft::hub(&plan.firewall).contains("table inet fielato"));
    for name in config.hosts.keys() {
        let host = HostPlan::compile(&config, name, &circumstances).expect("the host is there");
        assert!(render::nft::host(&host).contains("table inet fielato_host"));
    }
    let mut made = gateway::config(&plan, &Uplink::supposed(&config));
    // Disciplines that the kernel has and we have not are refused there.
    made.shaping.clear();
    let wall = u64::try_from(now.as_nanosecond()).expect("after 1970");
    if let Err(error) = Gateway::new(made, 1, Now { mono: wall, wall }) {
        panic!("{error}\n{text}");
    }
}
