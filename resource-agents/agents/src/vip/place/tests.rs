use super::*;

fn link(index: u32, name: &str, up: bool) -> Link {
    Link {
        index,
        name: name.into(),
        mac: vec![2, 0, 0, 0, 0, index as u8],
        mtu: 1500,
        up,
        carrier: up,
        arp: true,
        kind: if name == "lo" { LinkKind::Loopback } else { LinkKind::Veth },
        master: None,
    }
}

fn address(link: u32, text: &str) -> Address {
    let (ip, prefix_len) = text.split_once('/').unwrap();
    Address {
        link,
        ip: ip.parse().unwrap(),
        prefix_len: prefix_len.parse().unwrap(),
        label: None,
        broadcast: None,
        tentative: false,
        dad_failed: false,
        deprecated: false,
        secondary: false,
        local_scope: false,
    }
}

fn route(link: u32, text: &str, gateway: Option<&str>) -> Route {
    let (ip, prefix_len) = text.split_once('/').unwrap();
    Route {
        destination: Some(ip.parse().unwrap()),
        prefix_len: prefix_len.parse().unwrap(),
        ipv6: ip.contains(':'),
        gateway: gateway.map(|text| text.parse().unwrap()),
        link: Some(link),
        preferred_source: None,
        metric: 0,
    }
}

/// One host: two interfaces up, one down, and some routes.
fn check(ip: &str, nic: Option<&str>, bits: Option<u8>, expected: Result<&str, &str>) {
    let links =
        [link(1, "lo", true), link(2, "eth0", true), link(3, "eth1", true), link(4, "eth2", false)];
    let addresses = [
        address(1, "127.0.0.1/8"),
        address(2, "10.0.0.1/8"),
        address(3, "10.1.0.1/16"),
        address(3, "fd00::1/64"),
        address(4, "192.168.5.1/24"),
        address(2, "10.9.9.9/32"),
    ];
    let routes = [
        route(2, "172.16.0.0/12", None),
        route(3, "172.16.7.0/24", None),
        route(3, "203.0.113.0/24", Some("10.1.0.254")),
    ];
    let wish = Wish { ip: ip.parse().unwrap(), prefix_len: bits, nic: nic.map(Into::into) };
    let found = find(&wish, &links, &addresses, &routes)
        .map(|place| format!("{}/{}", place.link.name, place.prefix_len));
    match expected {
        Ok(expected) => assert_eq!(found.as_deref(), Ok(expected), "{ip}"),
        Err(part) => {
            let error = found.expect_err(ip);
            assert!(error.contains(part), "{ip}: {error}");
        }
    }
}

#[test]
fn the_narrowest_network_wins() {
    check("10.2.3.4", None, None, Ok("eth0/8"));
    check("10.1.3.4", None, None, Ok("eth1/16"));
    check("fd00::99", None, None, Ok("eth1/64"));
}

#[test]
fn a_given_netmask_stays() {
    check("10.1.3.4", None, Some(32), Ok("eth1/32"));
}

#[test]
fn a_host_address_is_no_network() {
    check("10.9.9.9", None, None, Ok("eth0/8"));
}

#[test]
fn routes_help_when_no_own_network_matches() {
    check("172.16.7.7", None, None, Ok("eth1/24"));
    check("172.16.8.7", None, None, Ok("eth0/12"));
    check("203.0.113.7", None, None, Err("No interface has a network that contains"));
}

#[test]
fn loopback_and_interfaces_that_are_down_are_not_chosen() {
    check("127.0.0.9", None, None, Err("set nic"));
    check("192.168.5.9", None, None, Err("set nic"));
    check("192.168.5.9", Some("eth2"), None, Ok("eth2/24"));
    check("127.0.0.9", Some("lo"), None, Ok("lo/8"));
}

#[test]
fn a_given_interface_stays() {
    check("10.1.3.4", Some("eth0"), None, Ok("eth0/8"));
    check("198.51.100.1", Some("eth0"), None, Ok("eth0/32"));
    check("2001:db8::1", Some("eth0"), None, Ok("eth0/128"));
    check("10.1.3.4", Some("eth9"), None, Err("There is no interface eth9"));
}

#[test]
fn prefix_lengths() {
    let v4 = "10.0.0.1".parse().unwrap();
    let v6 = "fd00::1".parse().unwrap();
    assert_eq!(prefix_len("24", v4), Some(24));
    assert_eq!(prefix_len("255.255.255.0", v4), Some(24));
    assert_eq!(prefix_len("0.0.0.0", v4), Some(0));
    assert_eq!(prefix_len("255.0.255.0", v4), None);
    assert_eq!(prefix_len("33", v4), None);
    assert_eq!(prefix_len("64", v6), Some(64));
    assert_eq!(prefix_len("255.255.255.0", v6), None);
    assert_eq!(prefix_len("x", v4), None);
}

#[test]
fn last_addresses() {
    let last = |ip: &str, bits| last_of_network(ip.parse().unwrap(), bits).map(|ip| ip.to_string());
    assert_eq!(last("10.0.0.5", 24).as_deref(), Some("10.0.0.255"));
    assert_eq!(last("10.0.0.5", 0).as_deref(), Some("255.255.255.255"));
    assert_eq!(last("10.0.0.5", 31), None);
    assert_eq!(last("10.0.0.5", 32), None);
}
