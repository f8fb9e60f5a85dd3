//! Gives files to a property, as a fuzzer would: `replay TARGET FILE…`. Tells of each that it does not hold for.

use std::panic;

use fielato_properties::check;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some((_, check)) = check::ALL.into_iter().find(|(known, _)| *known == name) else {
        eprintln!("usage: replay packet|language|restore|conntrack|ftp|superpacket|wireguard FILE…");
        std::process::exit(2);
    };
    let mut failed = 0;
    for file in arguments {
        let data = match std::fs::read(&file) {
            Ok(data) => data,
            Err(error) => {
                eprintln!("replay: {file}: {error}");
                std::process::exit(2);
            }
        };
        if panic::catch_unwind(|| check(&data)).is_err() {
            eprintln!("replay: {name} does not hold for {file}\n");
            failed += 1;
        }
    }
    std::process::exit(i32::from(failed > 0));
}
