//! Routes, what is detected from them, and settings, in namespaces of our own.

mod common;

use std::net::IpAddr;

use fielato_kernel::detect::detect;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::netns::NetnsGuard;
use fielato_kernel::route::{self, Family, Route, RouteError};
use fielato_kernel::{address, link, sysctl};

use common::{namespace, netlink};

/// `up0`, up, with addresses of both families.
fn with_uplink(netns: &NetnsGuard) -> (Netlink, u32) {
    let mut netlink = netlink(netns);
    let link = link::create_veth(&mut netlink, "up0", "far0", None).unwrap();
    let other = link::get(&mut netlink, "far0").unwrap();
    for address in ["192.0.2.17/28", "192.0.2.18/28", "2001:db8:1::17/64"] {
        address::add(&mut netlink, link.index, address.parse().unwrap()).unwrap();
    }
    link::set_up(&mut netlink, &link, true).unwrap();
    link::set_up(&mut netlink, &other, true).unwrap();
    (netlink, link.index)
}

fn by(destination: &str, gateway: &str, index: u32, metric: Option<u32>) -> Route {
    Route {
        gateway: Some(gateway.parse().unwrap()),
        metric,
        ..Route::on_link(destination.parse().unwrap(), index)
    }
}

#[test]
fn routes_of_both_families_come_and_go() {
    let Some(netns) = namespace("routes_of_both_families_come_and_go") else {
        return;
    };
    let (mut netlink, index) = with_uplink(&netns);
    let routes = [
        Route::on_link("10.1.0.0/16".parse().unwrap(), index),
        Route {
            source: Some([192, 0, 2, 18].into()),
            ..by("10.2.0.0/16", "192.0.2.30", index, Some(7))
        },
        Route {
            metric: Some(1024),
            ..Route::on_link("2001:db8:8::/48".parse().unwrap(), index)
        },
        by("2001:db8:9::/48", "2001:db8:1::1", index, Some(9)),
        by("10.3.0.0/16", "2001:db8:1::1", index, None),
    ];
    for route in &routes {
        route::add(&mut netlink, route).unwrap();
        assert!(matches!(route::add(&mut netlink, route), Err(RouteError::Exists(net)) if net == route.destination));
        assert!(route::list(&mut netlink).unwrap().contains(route), "{route:?}");
    }
    let to: IpAddr = [10, 2, 3, 4].into();
    let found = route::lookup(&mut netlink, to).unwrap();
    assert_eq!((found.gateway, found.interface), (routes[1].gateway, Some(index)));
    assert_eq!(found.source, Some([192, 0, 2, 18].into()));
    for route in &routes {
        route::remove(&mut netlink, route).unwrap();
        let error = route::remove(&mut netlink, route).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no such route to {}", route.destination));
    }
    assert!(matches!(route::lookup(&mut netlink, to), Err(RouteError::Missing(_))));

    let error = route::add(&mut netlink, &by("10.4.0.0/16", "10.99.0.1", index, None))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "cannot add a route to 10.4.0.0/16: Network is unreachable (os error 101); \
         the kernel says: Nexthop has invalid gateway"
    );
}

#[test]
fn the_default_route_of_the_lowest_metric_is_found() {
    let Some(netns) = namespace("the_default_route_of_the_lowest_metric_is_found") else {
        return;
    };
    let (mut netlink, index) = with_uplink(&netns);
    assert_eq!(route::default_route(&mut netlink, Family::V4).unwrap(), None);
    assert_eq!(route::default_route(&mut netlink, Family::V6).unwrap(), None);
    let far = link::get(&mut netlink, "far0").unwrap();
    route::add(
        &mut netlink,
        &Route {
            metric: Some(50),
            ..Route::on_link("0.0.0.0/0".parse().unwrap(), far.index)
        },
    )
    .unwrap();
    route::add(&mut netlink, &by("0.0.0.0/0", "192.0.2.30", index, Some(5))).unwrap();
    route::add(&mut netlink, &by("::/0", "2001:db8:1::1", index, Some(60))).unwrap();

    let v4 = route::default_route(&mut netlink, Family::V4).unwrap().unwrap();
    assert_eq!((v4.interface.as_str(), v4.index), ("up0", index));
    assert_eq!(
        (v4.gateway, v4.source),
        (Some([192, 0, 2, 30].into()), Some([192, 0, 2, 17].into()))
    );
    let v6 = route::default_route(&mut netlink, Family::V6).unwrap().unwrap();
    assert_eq!(
        (v6.interface.as_str(), v6.gateway),
        ("up0", Some("2001:db8:1::1".parse().unwrap()))
    );
    assert_eq!(v6.source, Some("2001:db8:1::17".parse().unwrap()));
}

#[test]
fn the_machine_is_detected() {
    let Some(netns) = namespace("the_machine_is_detected") else {
        return;
    };
    let (mut netlink, index) = with_uplink(&netns);
    let nothing = detect(&mut netlink).unwrap();
    assert_eq!((nothing.uplink, nothing.v4, nothing.v6), (None, vec![], vec![]));

    route::add(&mut netlink, &by("::/0", "2001:db8:1::1", index, None)).unwrap();
    assert_eq!(detect(&mut netlink).unwrap().uplink.as_deref(), Some("up0"));
    let preferred = Route {
        source: Some([192, 0, 2, 18].into()),
        ..by("0.0.0.0/0", "192.0.2.30", index, None)
    };
    route::add(&mut netlink, &preferred).unwrap();
    let detected = detect(&mut netlink).unwrap();
    assert_eq!(detected.uplink.as_deref(), Some("up0"));
    assert_eq!(
        detected.v4,
        ["192.0.2.18/28".parse().unwrap(), "192.0.2.17/28".parse().unwrap()]
    );
    // The link-local address is not among them.
    assert_eq!(detected.v6, ["2001:db8:1::17/64".parse().unwrap()]);
    assert!(!detected.hostname.is_empty());
}

#[test]
fn a_setting_is_the_namespaces_own() {
    let Some(netns) = namespace("a_setting_is_the_namespaces_own") else {
        return;
    };
    let mut netlink = netlink(&netns);
    link::create_bridge(&mut netlink, "br0.7").unwrap();
    let outside = sysctl::read("net.ipv4.ip_forward").unwrap();
    netns
        .run_in(|| {
            for name in [
                "net.ipv4.ip_forward",
                "net.ipv6.conf.all.forwarding",
                "net.ipv4.conf.br0/7.rp_filter",
            ] {
                for value in ["0", "1", "0"] {
                    sysctl::write(name, value).unwrap();
                    assert_eq!(sysctl::read(name).unwrap(), value, "{name}");
                }
            }
            let error = sysctl::write("net.ipv4.ip_forward", "perhaps").unwrap_err().to_string();
            assert_eq!(
                error,
                "cannot set net.ipv4.ip_forward to \"perhaps\": Invalid argument (os error 22)"
            );
            sysctl::write("net.ipv4.ip_forward", if outside == "1" { "0" } else { "1" }).unwrap();
        })
        .unwrap();
    assert_eq!(sysctl::read("net.ipv4.ip_forward").unwrap(), outside);
}
