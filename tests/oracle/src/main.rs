//! `oracle`: runs cases against the kernel and says what differs.

use fielato_oracle::kernel::Kernel;
use fielato_oracle::run::{self, Outcome};
use std::time::Instant;

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (seed, cases, packets) = (args[0], args[1], args[2] as usize);
    let (mut a, mut b) = (Kernel::new(), Kernel::new());
    let (mut same, mut ambiguous, mut outs, mut hosts) = (0, 0, 0, 0);
    let began = Instant::now();
    let mut bad = 0;
    for case in seed..seed + cases {
        let trace = match run::record(&mut a, case, packets) {
            Ok(trace) => trace,
            Err(e) => { println!("case {case}: {e}"); let s = run::setup(case); std::fs::write(format!("/tmp/bad-{case}.4"), s.rules_v4).unwrap(); std::fs::write(format!("/tmp/bad-{case}.6"), s.rules_v6).unwrap(); bad += 1; if bad > 10 {break} continue }
        };
        outs += trace.steps.iter().filter(|s| !s.outputs.is_empty()).count();
        hosts += trace.steps.iter().flat_map(|s| &s.outputs).filter(|o| o.port == fielato_oracle::subject::Port::Host).count();
        if std::env::var("ONE").is_ok() { continue }
        match run::replay(&mut b, &trace).unwrap() {
            Outcome::Same => same += 1,
            Outcome::Ambiguous(_) => ambiguous += 1,
            Outcome::Differs(m) => {
                println!("case {case} {}\n{m}", trace.setup.tracking);
                std::fs::write(format!("/tmp/case-{case}"), trace.to_text()).unwrap();
            }
        }
    }
    println!("same {same} ambiguous {ambiguous} outs {outs} host {hosts} {:?}", began.elapsed());
}
