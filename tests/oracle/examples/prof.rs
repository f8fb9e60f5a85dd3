use fielato_oracle::kernel::Kernel;
use fielato_oracle::subject::Subject;
use fielato_oracle::{run, traffic::Traffic};
use std::time::*;
fn main() {
    let mut k = Kernel::new();
    let mut worst = vec![];
    let mut tl = Duration::ZERO; let mut ti = Duration::ZERO; let mut tc = Duration::ZERO; let mut tn=Duration::ZERO;
    for seed in 2000..2100u64 {
        let s = run::setup(seed);
        let t = Instant::now(); k.load(&s).unwrap(); tl += t.elapsed();
        let mut tr = Traffic::new(!seed);
        for i in 0..100 {
            let (p, b) = tr.next();
            let t = Instant::now();
            let o = k.inject(Duration::ZERO, p, &b).unwrap();
            let e = t.elapsed(); ti += e;
            worst.push((e, seed, i, o.len(), p));
            tr.observe(&o);
        }
        let t = Instant::now(); k.counters().unwrap(); tc += t.elapsed();
        let t = Instant::now(); k.connections(Duration::ZERO).unwrap(); tn += t.elapsed();
    }
    worst.sort(); worst.reverse();
    println!("load {tl:?} inject {ti:?} counters {tc:?} conns {tn:?} median {:?}", worst[worst.len()/2]);
    for w in worst.iter().take(12) { println!("{w:?}"); }
    worst.sort_by_key(|w| std::cmp::Reverse(w.3)); for w in worst.iter().take(5) { println!("{w:?}"); }
}
