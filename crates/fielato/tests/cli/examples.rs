//! The example in `examples/laboratory`: it is valid, its own tests pass, and its guide says what the commands say.

use std::path::Path;

use crate::common::Machine;

fn laboratory() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/laboratory")
}

#[test]
fn the_laboratorys_policy_holds() {
    let machine = Machine::files();
    let fielato = |arguments: &str| machine.fielato(&format!("--config {}/fielato.toml {arguments}", laboratory()));
    let checked = fielato("check --json").json();
    assert_eq!(checked["refused"], false, "{checked}");
    let tested = fielato("test").ok();
    let guide = std::fs::read_to_string(Path::new(laboratory()).join("README.md")).unwrap();
    let last = tested.lines().last().unwrap();
    assert!(last.ends_with(" passed, 0 failed"), "{tested}");
    assert!(guide.contains(last), "the guide says something else than {last:?}");
    assert!(guide.contains("fielato.toml is valid: 1 note"));

    let who = fielato("who-can run-control --json").json();
    assert!(who.to_string().contains("ada"), "{who}");
    assert!(fielato("can ben graphs").code == 1 && fielato("can ada run-control").code == 0);
    let matrix = fielato("matrix --csv").ok();
    assert!(matrix.lines().count() > 30, "{matrix}");
    for host in ["login1", "storage"] {
        assert!(
            fielato(&format!("render {host}")).ok().contains("table inet fielato_host"),
            "{host}"
        );
    }
}
