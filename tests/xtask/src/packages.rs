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
    ("gawk", "/usr/bin/gawk"),
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
    ("psmisc", "/usr/bin/killall"),
    ("python3", "/usr/bin/python3"),
    ("python3-dacite", "/usr/lib/python3/dist-packages/dacite"),
    ("python3-dateutil", "/usr/lib/python3/dist-packages/dateutil"),
    ("python3-lxml", "/usr/lib/python3/dist-packages/lxml"),
    ("python3-openssl", "/usr/lib/python3/dist-packages/OpenSSL"),
    ("python3-parallax", "/usr/lib/python3/dist-packages/parallax"),
    ("python3-pkg-resources", "/usr/lib/python3/dist-packages/pkg_resources"),
    ("python3-pycurl", "/usr/share/doc/python3-pycurl"),
    ("python3-pyparsing", "/usr/lib/python3/dist-packages/pyparsing"),
    ("python3-tornado", "/usr/lib/python3/dist-packages/tornado"),
    ("python3-yaml", "/usr/lib/python3/dist-packages/yaml"),
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

/// Packages that are unpacked but not installed, because they want to have Pacemaker's tools.
const UNPACKED: &[&str] = &["crmsh", "pcs"];
/// Where they are unpacked, each in a folder of its name. The lab takes them from here.
const UNPACKED_IN: &str = "/var/cache/systole-tests";

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
    let folder = |package: &&&str| Path::new(UNPACKED_IN).join(package);
    let packed: Vec<&str> = UNPACKED.iter().filter(|p| !folder(p).exists()).copied().collect();
    if missing.is_empty() && packed.is_empty() {
        println!("All packages that the tests need are installed.");
        return Ok(());
    }
    apt(&["update", "-q"])?;
    if !missing.is_empty() {
        println!("Installing with apt-get: {}", missing.join(", "));
        let mut words = vec!["install", "-q", "-y", "--no-install-recommends"];
        words.extend(&missing);
        apt(&words)?;
    }
    packed.into_iter().try_for_each(unpack)
}

/// Unpacks a package in a folder of its own. Nothing of it is installed or run.
fn unpack(package: &str) -> anyhow::Result<()> {
    println!("Unpacking {package} in {UNPACKED_IN}");
    let downloads = Path::new(UNPACKED_IN).join("downloads");
    let make = || format!("cannot make {}", downloads.display());
    std::fs::create_dir_all(&downloads).with_context(make)?;
    // A package that was only half unpacked must not be taken for one that is there.
    let script = format!(
        "set -e; cd {}; rm -rf {package}*; apt-get download -q {package}; \
         dpkg -x {package}_*.deb {package}; mv {package} {UNPACKED_IN}/",
        downloads.display()
    );
    let status = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        bail!("unpacking {package} in {UNPACKED_IN} failed");
    }
    Ok(())
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
