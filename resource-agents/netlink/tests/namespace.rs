//! The whole layer against the running kernel, in network namespaces of the test's own.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::sched::{CloneFlags, setns, unshare};
use resource_agents_netlink::{LinkKind, Namespace, Netlink, NewAddress, NewRoute, VethPeer};

/// Runs `test` on a thread that has left for a namespace of its own. Needs root; without it the
/// test only runs when the end-to-end run insists (`SYSTOLE_E2E=1`), and then fails.
fn in_own_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            assert!(std::env::var_os("SYSTOLE_E2E").is_none(), "unshare: {error}");
            println!("not run: cannot make a network namespace here ({error})");
            return;
        }
        test();
    });
    thread.join().expect("the test's assertions hold");
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a valid address")
}

#[test]
fn veth_bridge_addresses_routes() {
    in_own_namespace(|| {
        let home = File::open("/proc/thread-self/ns/net").unwrap();
        let mut here = Netlink::open().unwrap();
        // A second namespace; this thread comes back at once, its socket stays there.
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let away = File::open("/proc/thread-self/ns/net").unwrap();
        let mut there = Netlink::open().unwrap();
        setns(&home, CloneFlags::CLONE_NEWNET).unwrap();

        here.add_bridge("sw0").unwrap();
        let bridge = here.link("sw0").unwrap().unwrap();
        assert_eq!(bridge.kind, LinkKind::Bridge);
        let mac = [2, 0, 0, 0, 0, 7];
        let peer =
            VethPeer { name: "eth0", namespace: Some(Namespace::Fd(away.as_fd())), mac: Some(mac) };
        here.add_veth("p1", peer).unwrap();
        let port = here.link_index("p1").unwrap();
        here.set_master(port, Some(bridge.index)).unwrap();
        here.set_up(port, true).unwrap();
        here.set_up(bridge.index, true).unwrap();
        assert_eq!(here.link("p1").unwrap().unwrap().master, Some(bridge.index));

        let eth0 = there.link("eth0").unwrap().unwrap();
        assert_eq!(eth0.mac, mac);
        assert_eq!(eth0.kind, LinkKind::Veth);
        assert!(eth0.arp && !eth0.up);
        there.set_up(eth0.index, true).unwrap();

        let mut v4 = NewAddress::new(eth0.index, ip("10.77.0.1"), 24);
        v4.label = Some("eth0:vip".into());
        v4.broadcast = Some("10.77.0.255".parse().unwrap());
        there.add_address(&v4).unwrap();
        assert_eq!(there.add_address(&v4).unwrap_err().errno(), Some(nix::libc::EEXIST));
        let mut v6 = NewAddress::new(eth0.index, ip("fd77::1"), 64);
        v6.nodad = true;
        v6.preferred_lft_s = Some(0);
        there.add_address(&v6).unwrap();
        let addresses = there.addresses().unwrap();
        let found = addresses.iter().find(|a| a.ip == v4.ip).unwrap();
        assert_eq!((found.prefix_len, found.label.as_deref()), (24, Some("eth0:vip")));
        assert_eq!(found.broadcast, v4.broadcast);
        let found = addresses.iter().find(|a| a.ip == v6.ip).unwrap();
        assert!(found.deprecated && !found.tentative);

        let default = NewRoute {
            destination: None,
            gateway: Some(ip("10.77.0.254")),
            link: Some(eth0.index),
            preferred_source: None,
        };
        there.add_route(&default).unwrap();
        let routes = there.routes().unwrap();
        assert!(routes.iter().any(|r| r.gateway == default.gateway && r.prefix_len == 0));
        assert!(routes.iter().any(|r| r.destination == Some(ip("10.77.0.0"))));
        there.delete_route(&default).unwrap();

        there.delete_address(eth0.index, v4.ip, 24).unwrap();
        let gone = there.delete_address(eth0.index, v4.ip, 24).unwrap_err();
        assert_eq!(gone.errno(), Some(nix::libc::EADDRNOTAVAIL));
        here.delete_link(port).unwrap();
        assert!(there.link("eth0").unwrap().is_none());
    });
}

#[test]
fn missing_link_is_named() {
    in_own_namespace(|| {
        let mut netlink = Netlink::open().unwrap();
        assert!(netlink.link("nope0").unwrap().is_none());
        let error = netlink.link_index("nope0").unwrap_err();
        assert_eq!(error.to_string(), "no network interface named nope0");
    });
}
