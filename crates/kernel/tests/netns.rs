//! Network namespaces: names, threads, commands, and what is left afterwards.

mod common;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;

use fielato_kernel::link;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::netns::{self, Netns, NetnsError, NetnsGuard};

use common::namespace;

fn own_namespace() -> PathBuf {
    fs::read_link("/proc/thread-self/ns/net").unwrap()
}

#[test]
fn a_namespace_is_created_listed_and_removed() {
    let Some(guard) = namespace("a_namespace_is_created_listed_and_removed") else {
        return;
    };
    let name = guard.name().to_owned();
    assert!(netns::list().unwrap().contains(&name));
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&listed.stdout)
            .lines()
            .any(|line| line.split(' ').next() == Some(&name))
    );
    let inside = Command::new("ip").args(["-n", &name, "-o", "link"]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&inside.stdout).lines().count(),
        1,
        "only the loopback"
    );

    assert!(matches!(Netns::create(&name), Err(NetnsError::Exists(taken)) if taken == name));
    assert_eq!(Netns::open(&name).unwrap().name(), name);
    drop(guard);
    assert!(!netns::list().unwrap().contains(&name));
    assert_eq!(
        Netns::open(&name).unwrap_err().to_string(),
        format!("there is no network namespace {name}")
    );
    assert!(matches!(netns::delete(&name), Err(NetnsError::Missing(_))));
    for bad in ["", "..", "a/b"] {
        assert!(matches!(Netns::create(bad), Err(NetnsError::Name(_))), "{bad:?}");
        assert!(matches!(netns::delete(bad), Err(NetnsError::Name(_))), "{bad:?}");
    }
}

#[test]
fn namespaces_of_ip_netns_and_ours_are_the_same_thing() {
    if namespace("namespaces_of_ip_netns_and_ours_are_the_same_thing").is_none() {
        return;
    }
    let name = format!("fk-{}-ip", std::process::id());
    assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
    let opened = Netns::open(&name);
    netns::delete(&name).unwrap();
    assert_ne!(opened.unwrap().run_in(own_namespace).unwrap(), own_namespace());

    let ours = NetnsGuard::create(&name).unwrap();
    assert!(
        Command::new("ip")
            .args(["netns", "delete", &name])
            .status()
            .unwrap()
            .success()
    );
    drop(ours);
    assert!(!netns::list().unwrap().contains(&name));
}

#[test]
fn the_callers_thread_stays_where_it_is() {
    let Some(guard) = namespace("the_callers_thread_stays_where_it_is") else {
        return;
    };
    let before = own_namespace();
    let mut netlink = guard.run_in(|| Netlink::open().unwrap()).unwrap();
    // The socket stays in the namespace in which it was opened.
    link::create_bridge(&mut netlink, "br0").unwrap();
    let seen = guard
        .run_in(|| link::list(&mut Netlink::open().unwrap()).unwrap().len())
        .unwrap();
    assert_eq!(seen, 2);
    assert_eq!(link::find(&mut Netlink::open().unwrap(), "br0").unwrap(), None);
    assert_eq!(own_namespace(), before);

    let panicked = catch_unwind(AssertUnwindSafe(|| guard.run_in(|| panic!("on purpose"))));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_eq!(own_namespace(), before);
}

#[test]
fn the_name_goes_with_a_panic() {
    if namespace("the_name_goes_with_a_panic").is_none() {
        return;
    }
    let name = format!("fk-{}-panic", std::process::id());
    let panicked = catch_unwind(|| {
        let _guard = NetnsGuard::create(&name).unwrap();
        assert!(netns::list().unwrap().contains(&name));
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert!(!netns::list().unwrap().contains(&name));
}

#[test]
fn a_command_starts_inside_with_directories_of_its_own() {
    let Some(guard) = namespace("a_command_starts_inside_with_directories_of_its_own") else {
        return;
    };
    let directory = std::env::temp_dir().join(format!("fk-{}", std::process::id()));
    let (from, to) = (directory.join("from"), directory.join("to"));
    fs::create_dir_all(&from).unwrap();
    fs::create_dir_all(&to).unwrap();
    fs::write(from.join("mark"), "seen").unwrap();
    let run = |binds: &[(PathBuf, PathBuf)]| {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("readlink /proc/self/ns/net; cat \"$1/mark\"")
            .arg("sh")
            .arg(&to);
        guard.command(command, binds).unwrap().output()
    };
    let without = run(&[]).unwrap();
    let with = run(&[(from.clone(), to.clone())]).unwrap();
    let absent = run(&[(directory.join("absent"), to.clone())]);
    let outside = to.join("mark").exists();
    fs::remove_dir_all(&directory).unwrap();

    let inside = guard.run_in(own_namespace).unwrap();
    let inside = inside.to_str().unwrap();
    assert_eq!(String::from_utf8(without.stdout).unwrap(), format!("{inside}\n"));
    assert_eq!(String::from_utf8(with.stdout).unwrap(), format!("{inside}\nseen"));
    assert!(!outside, "the mount is the command's alone");
    assert_eq!(
        absent.unwrap_err().raw_os_error(),
        Some(2),
        "a bind that can't be made stops the command"
    );
}
