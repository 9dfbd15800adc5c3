//! Hosts whose process 1 is systemd.
//!
//! They share the machine's files as all hosts of the lab do, but systemd sees none of its units:
//! only those in the host's own `/etc/systemd/system`, which start D-Bus and the cluster daemon.
//! So nothing of the machine is started a second time, and a host is up in under a second.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::LabBuilder;
use crate::cluster::systole;

/// What the machine must have.
pub(crate) const PROGRAMS: &[&str] = &["/lib/systemd/systemd", "/usr/bin/dbus-daemon"];
const UNITS: &str = "/etc/systemd/system";
/// Variable with the folder of the lab's control groups.
const GROUP: &str = "LAB_CONTROL_GROUP";

/// Process 1 until systemd is. systemd needs a tree of control groups that is its own, and would
/// take the host's name from the machine's file.
const BOOT: &str = r#"set -e
ln -s "$(readlink /proc/$$/fd/1)" /run/console
printf 'PATH=%s\nHA_SBIN_DIR=%s\n' "$PATH" "$HA_SBIN_DIR" >/run/environment
hostname >/run/hostname
[ ! -e /etc/hostname ] || mount --bind /run/hostname /etc/hostname
mount -t cgroup2 none /sys/fs/cgroup
group="/sys/fs/cgroup/$LAB_CONTROL_GROUP/$(hostname)"
[ ! -d "$group" ] || find "$group" -mindepth 1 -depth -type d -exec rmdir {} +
mkdir -p "$group"
echo $$ >"$group/cgroup.procs"
umount /sys/fs/cgroup
exec unshare --cgroup sh -c 'mount -t cgroup2 none /sys/fs/cgroup
exec env container=lab SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system \
    SYSTEMD_LOG_TARGET=null /lib/systemd/systemd --system --show-status=no'
"#;

/// As the distribution's, but with the host's units only.
const TARGETS: &[(&str, &str)] = &[
    ("sysinit.target", "DefaultDependencies=no"),
    ("sockets.target", ""),
    ("shutdown.target", "DefaultDependencies=no"),
    (
        "basic.target",
        "DefaultDependencies=no\nRequires=sysinit.target\nWants=sockets.target\n\
         After=sysinit.target sockets.target",
    ),
    (
        "multi-user.target",
        "Requires=basic.target dbus.socket\nAfter=basic.target\nWants=systole.service\n\
         AllowIsolate=yes",
    ),
];

const DBUS_SOCKET: &str = "[Socket]\nListenStream=/run/dbus/system_bus_socket\n";
const DBUS: &str = "[Unit]\nRequires=dbus.socket\n[Service]\nType=notify\nNotifyAccess=main\n\
    ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile \
    --systemd-activation\n";

/// The unit that the repository has for its users.
const SYSTOLE: &str = include_str!("../../../cli/systole/systemd/systole.service");

impl LabBuilder {
    /// Has the hosts run systemd as process 1, and the cluster daemon by its unit.
    pub fn systemd(mut self) -> Self {
        self.systemd = true;
        let mut lab = self.command(["/bin/sh", "-c", BOOT]).persistent(UNITS);
        for (name, text) in TARGETS {
            lab = lab.unit(name, &format!("[Unit]\n{text}\n"));
        }
        let daemon = format!(
            "[Service]\nEnvironmentFile=/run/environment\nStandardOutput=append:/run/console\n\
             StandardError=append:/run/console\nExecStart=\nExecStart={} daemon\n",
            systole().display()
        );
        lab.link(format!("{UNITS}/default.target"), "multi-user.target")
            .unit("dbus.socket", DBUS_SOCKET)
            .unit("dbus.service", DBUS)
            .unit("systole.service", SYSTOLE)
            .unit("systole.service.d/lab.conf", &daemon)
    }

    /// Puts a unit's file on the hosts.
    pub fn unit(self, name: &str, text: &str) -> Self {
        self.content(format!("{UNITS}/{name}"), text)
    }
}

/// The control groups of a lab's hosts, which outlive their processes.
pub(crate) struct ControlGroups {
    name: String,
}

impl ControlGroups {
    /// Named like the lab's folder, so that each lab has its own.
    pub(crate) fn new(folder: &Path) -> Self {
        let name = folder.file_name().unwrap_or_default();
        Self { name: name.to_string_lossy().into_owned() }
    }

    pub(crate) fn env(&self) -> (OsString, OsString) {
        (GROUP.into(), self.name.clone().into())
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        // Where the machine has its version 2 hierarchy mounted, if at all, is its own affair.
        let script = format!(
            "mount -t cgroup2 none /sys/fs/cgroup && \
             find /sys/fs/cgroup/{} -depth -type d -exec rmdir {{}} +",
            self.name
        );
        let removed = Command::new("unshare").args(["--mount", "sh", "-c", &script]).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("control groups are left behind: {}", self.name);
        }
    }
}
