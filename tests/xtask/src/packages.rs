//! What the tests need from Debian's packages.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// A package, and a file by which it is known to be there.
const NEEDED: &[(&str, &str)] = &[
    ("apache2-bin", "/usr/sbin/apache2"),
    ("bind9", "/usr/sbin/named"),
    ("bind9-host", "/usr/bin/host"),
    ("busybox-static", "/usr/bin/busybox"),
    ("conmon", "/usr/bin/conmon"),
    ("dbus", "/usr/bin/dbus-daemon"),
    ("docker.io", "/usr/sbin/dockerd"),
    ("freeipmi-tools", "/usr/sbin/ipmipower"),
    ("ipmitool", "/usr/bin/ipmitool"),
    ("iproute2", "/usr/bin/ip"),
    ("iptables", "/usr/sbin/iptables"),
    ("iputils-ping", "/usr/bin/ping"),
    ("kmod", "/usr/sbin/modprobe"),
    ("ldap-utils", "/usr/bin/ldapsearch"),
    ("libxml2-utils", "/usr/bin/xmllint"),
    ("mariadb-server", "/usr/sbin/mariadbd"),
    ("netavark", "/usr/lib/podman/netavark"),
    ("nftables", "/usr/sbin/nft"),
    ("nginx-light", "/usr/sbin/nginx"),
    ("openipmi", "/usr/bin/ipmi_sim"),
    ("pacemaker-resource-agents", "/usr/lib/ocf/resource.d/pacemaker/ping"),
    ("podman", "/usr/bin/podman"),
    ("postgresql-15", "/usr/lib/postgresql/15/bin/initdb"),
    ("procps", "/usr/bin/ps"),
    ("python3", "/usr/bin/python3"),
    ("rabbitmq-server", "/usr/sbin/rabbitmqctl"),
    ("redis-server", "/usr/bin/redis-server"),
    ("resource-agents", "/usr/lib/ocf/resource.d/heartbeat/pgsql"),
    ("rsync", "/usr/bin/rsync"),
    ("rsyslog", "/usr/sbin/rsyslogd"),
    ("runc", "/usr/sbin/runc"),
    ("slapd", "/usr/sbin/slapd"),
    ("systemd", "/lib/systemd/systemd"),
    ("tgt", "/usr/sbin/tgtd"),
    ("vsftpd", "/usr/sbin/vsftpd"),
    ("wget", "/usr/bin/wget"),
    ("xinetd", "/usr/sbin/xinetd"),
];

/// Installs what is missing, and says so first.
pub(crate) fn install() -> anyhow::Result<()> {
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(p, _)| *p).collect();
    if !nix_is_root() {
        bail!(
            "the end-to-end tests make hosts and need root. Run this as root, or \
             'cargo xtask quick' for what does not.{}",
            if missing.is_empty() {
                String::new()
            } else {
                format!(" Packages that would be installed: {}", missing.join(", "))
            }
        );
    }
    if missing.is_empty() {
        println!("All packages that the tests need are installed.");
        return Ok(());
    }
    println!("Installing with apt-get: {}", missing.join(", "));
    apt(&["update", "-q"])?;
    let mut words = vec!["install", "-q", "-y", "--no-install-recommends"];
    words.extend(&missing);
    apt(&words)
}

fn nix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

fn apt(words: &[&str]) -> anyhow::Result<()> {
    // No service may be started by an installation: the tests start what they need themselves.
    let status = Command::new("apt-get")
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run apt-get; this needs Debian")?;
    if !status.success() {
        bail!("apt-get {} failed", words.join(" "));
    }
    Ok(())
}
