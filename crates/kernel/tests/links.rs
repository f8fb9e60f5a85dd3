//! Links and addresses, in namespaces of our own.

mod common;

use std::os::fd::AsFd as _;

use fielato_kernel::address::{self, AddressError};
use fielato_kernel::link::{self, LinkError};
use ipnet::IpNet;

use common::{namespace, netlink};

#[test]
fn a_link_is_created_changed_found_and_deleted() {
    let Some(netns) = namespace("a_link_is_created_changed_found_and_deleted") else {
        return;
    };
    let mut netlink = netlink(&netns);
    let loopback = link::get(&mut netlink, "lo").unwrap();
    assert_eq!(
        (loopback.index, loopback.kind, loopback.arphrd, loopback.up),
        (1, None, 772, false)
    );

    let veth = link::create_veth(&mut netlink, "left", "right", None).unwrap();
    assert_eq!(
        (veth.name.as_str(), veth.kind.as_deref(), veth.arphrd),
        ("left", Some("veth"), 1)
    );
    assert!(!veth.up && !veth.carrier && !veth.is_ours());
    let other = link::get(&mut netlink, "right").unwrap();

    link::set_alias(&mut netlink, &veth, "fielato lab").unwrap();
    link::set_mtu(&mut netlink, &veth, 1400).unwrap();
    link::rename(&mut netlink, &veth, "west").unwrap();
    link::set_up(&mut netlink, &veth, true).unwrap();
    link::set_up(&mut netlink, &other, true).unwrap();
    assert_eq!(link::find(&mut netlink, "left").unwrap(), None);
    let changed = link::get(&mut netlink, "west").unwrap();
    assert_eq!(
        (changed.index, changed.alias.as_deref(), changed.mtu),
        (veth.index, Some("fielato lab"), 1400)
    );
    assert!(changed.up && changed.carrier && changed.is_ours());

    let bridge = link::create_bridge(&mut netlink, "bridge").unwrap();
    link::set_master(&mut netlink, &changed, Some(&bridge)).unwrap();
    assert_eq!(link::get(&mut netlink, "west").unwrap().master, Some(bridge.index));
    link::set_master(&mut netlink, &changed, None).unwrap();
    assert_eq!(link::get(&mut netlink, "west").unwrap().master, None);

    link::set_up(&mut netlink, &changed, false).unwrap();
    assert!(!link::get(&mut netlink, "west").unwrap().up);
    link::delete(&mut netlink, &changed).unwrap();
    let names: Vec<String> = link::list(&mut netlink).unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["lo", "bridge"]);
    let gone = link::delete(&mut netlink, &changed).unwrap_err();
    assert_eq!(gone.to_string(), "there is no interface west");
}

#[test]
fn a_veth_reaches_into_another_namespace_by_birth_or_by_move() {
    let test = "a_veth_reaches_into_another_namespace_by_birth_or_by_move";
    let (Some(here), Some(there)) = (namespace(test), namespace(test)) else {
        return;
    };
    let (mut near, mut far) = (netlink(&here), netlink(&there));

    link::create_veth(&mut near, "cable", "eth0", Some(there.as_fd())).unwrap();
    assert_eq!(link::find(&mut near, "eth0").unwrap(), None);
    assert_eq!(link::get(&mut far, "eth0").unwrap().kind.as_deref(), Some("veth"));

    link::create_veth(&mut near, "second", "moved", None).unwrap();
    let moved = link::get(&mut near, "moved").unwrap();
    link::move_to_netns(&mut near, &moved, there.as_fd()).unwrap();
    assert_eq!(link::find(&mut near, "moved").unwrap(), None);
    assert!(link::find(&mut far, "moved").unwrap().is_some());

    // The taken name is the other end's, in the other namespace: not to be told as if it were this end's.
    let error = link::create_veth(&mut near, "third", "eth0", Some(there.as_fd())).unwrap_err();
    assert!(matches!(error, LinkError::Netlink { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("cannot create interface third of kind veth: File exists"),
        "{error}"
    );
}

#[test]
fn link_errors_say_what_and_how() {
    let Some(netns) = namespace("link_errors_say_what_and_how") else {
        return;
    };
    let mut netlink = netlink(&netns);
    let lo = link::get(&mut netlink, "lo").unwrap();
    let bridge = link::create_bridge(&mut netlink, "taken").unwrap();

    let error = link::create_bridge(&mut netlink, "taken").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot create interface taken: an interface of that name exists already; remove it or choose another name"
    );
    assert!(matches!(link::rename(&mut netlink, &bridge, "lo"), Err(LinkError::Exists(name)) if name == "lo"));
    assert_eq!(
        link::get(&mut netlink, "absent").unwrap_err().to_string(),
        "there is no interface absent"
    );
    for name in ["", "sixteen-letters-", "a/b", "a b", "a:b", ".."] {
        assert!(
            matches!(link::create_bridge(&mut netlink, name), Err(LinkError::Name(_))),
            "{name:?}"
        );
    }

    // The kernel's own words arrive (extended ACK).
    let error = link::set_mtu(&mut netlink, &bridge, 1).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot set the MTU of interface taken to 1: Invalid argument (os error 22); the kernel says: mtu less than device minimum"
    );
    // Here the kernel gives a number only.
    let error = link::set_master(&mut netlink, &lo, Some(&bridge)).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot make interface lo a port of taken: Invalid argument (os error 22)"
    );
}

#[test]
fn a_wireguard_link_is_ours_when_it_has_its_name() {
    let Some(netns) = namespace("a_wireguard_link_is_ours_when_it_has_its_name") else {
        return;
    };
    let mut netlink = netlink(&netns);
    let link = match link::create_owned_wireguard(&mut netlink, "wg0") {
        Ok(link) => link,
        Err(error @ LinkError::NoKind { .. }) => {
            assert!(
                error
                    .to_string()
                    .contains("wg0: this kernel has no interfaces of kind wireguard"),
                "{error}"
            );
            assert_eq!(link::list(&mut netlink).unwrap().len(), 1, "nothing is left");
            fielato_testkit::skip(
                "a_wireguard_link_is_ours_when_it_has_its_name",
                "this kernel has no module wireguard",
            );
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert!(link.is_ours());
    assert_eq!(link.kind.as_deref(), Some("wireguard"));
    assert!(matches!(
        link::create_owned_wireguard(&mut netlink, "wg0"),
        Err(LinkError::Exists(_))
    ));
    assert_eq!(link::list(&mut netlink).unwrap().len(), 2);
    assert!(!link::remove_leftovers(&mut netlink).unwrap());
}

#[test]
fn leftovers_of_an_interrupted_creation_are_removed() {
    let Some(netns) = namespace("leftovers_of_an_interrupted_creation_are_removed") else {
        return;
    };
    let mut netlink = netlink(&netns);
    link::create_bridge(&mut netlink, "fielato-new").unwrap();
    assert!(link::remove_leftovers(&mut netlink).unwrap());
    assert!(!link::remove_leftovers(&mut netlink).unwrap());
    assert_eq!(link::find(&mut netlink, "fielato-new").unwrap(), None);
}

#[test]
fn addresses_of_both_families_come_and_go() {
    let Some(netns) = namespace("addresses_of_both_families_come_and_go") else {
        return;
    };
    let mut netlink = netlink(&netns);
    let link = link::create_veth(&mut netlink, "left", "right", None).unwrap();
    let other = link::get(&mut netlink, "right").unwrap();
    let own = |netlink: &mut _| -> Vec<(IpNet, bool, bool)> {
        let all = address::list(netlink).unwrap().into_iter();
        all.filter(|a| a.index == link.index)
            .map(|a| (a.address, a.global, a.usable))
            .collect()
    };
    for text in ["192.0.2.1/24", "192.0.2.2/32", "2001:db8::1/64", "2001:db8::2/128"] {
        let address: IpNet = text.parse().unwrap();
        address::add(&mut netlink, link.index, address).unwrap();
        assert!(
            matches!(
                address::add(&mut netlink, link.index, address),
                Err(AddressError::Exists { .. })
            ),
            "{text}"
        );
    }
    link::set_up(&mut netlink, &link, true).unwrap();
    link::set_up(&mut netlink, &other, true).unwrap();
    let addresses = own(&mut netlink);
    for text in ["192.0.2.1/24", "192.0.2.2/32", "2001:db8::1/64", "2001:db8::2/128"] {
        let address: IpNet = text.parse().unwrap();
        // Usable at once although the link has just come up: no duplicate address detection.
        assert!(addresses.contains(&(address, true, true)), "{text} in {addresses:?}");
        address::remove(&mut netlink, link.index, address).unwrap();
        let error = address::remove(&mut netlink, link.index, address).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("interface number {} hasn't the address {text}", link.index)
        );
    }
    let left = own(&mut netlink);
    assert!(
        left.iter().all(|(_, global, _)| !global),
        "only the link-local address may be left: {left:?}"
    );
}
