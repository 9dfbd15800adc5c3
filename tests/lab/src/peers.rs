//! Hosts on which `crm` and `pcs` are installed, as their packages have them.
//!
//! The packages want Pacemaker's tools, which this program replaces. So they are not installed on
//! the machine but unpacked in a folder, and each host has them laid over its own `/usr`, with our
//! links under the tools' names and the schemas that `crm` reads.

use std::path::Path;

use anyhow::ensure;

use crate::LabBuilder;
use crate::cluster::systole;

/// Where `cargo xtask` unpacks the packages, each in a folder of its name.
const UNPACKED: &str = "/var/cache/systole-tests";
const PACKAGES: [&str; 2] = ["crmsh", "pcs"];

/// Folders that the programs have beside what is laid over `/usr`.
const FOLDERS: &[&str] =
    &["/etc/crm", "/usr/lib/pacemaker", "/var/lib/pcsd", "/var/log/crmsh", "/var/log/pcsd"];

/// What a host does before it starts the daemon.
const BOOT: &str = r#"set -e
own=/run/peers
mkdir -p $own/usr/sbin $own/usr/share/pacemaker $own/usr/lib/python3 "$HOME"
program=$(readlink -f "$(command -v systole)")
for name in $("$program" --tool-names); do
    ln -s "$program" $own/usr/sbin/$name
done
"$program" cib schemas $own/usr/share/pacemaker
for folder in /usr/sbin /usr/share /usr/lib/python3; do
    layers=$own$folder
    for package in crmsh pcs; do
        [ ! -d $UNPACKED/$package$folder ] || layers=$layers:$UNPACKED/$package$folder
    done
    mount -t overlay overlay -o "lowerdir=$layers:$folder" $folder
done
cp -a $UNPACKED/crmsh/etc/crm/. /etc/crm
mkdir -p /etc/corosync/uidgid.d
sleep 1
exec systole daemon
"#;

impl LabBuilder {
    /// Has the hosts boot with `crm` and `pcs` and a daemon that they take for Pacemaker.
    pub fn peers(self) -> anyhow::Result<Self> {
        for package in PACKAGES {
            let folder = Path::new(UNPACKED).join(package);
            ensure!(
                folder.is_dir(),
                "{} is missing: 'cargo xtask test' unpacks package {package} there",
                folder.display()
            );
        }
        let mut lab = FOLDERS.iter().fold(self, |lab, folder| lab.persistent(*folder));
        for daemon in ["based", "controld", "fenced", "schedulerd"] {
            lab = lab.link(format!("/usr/lib/pacemaker/pacemaker-{daemon}"), systole());
        }
        let lab = lab.env("UNPACKED", UNPACKED).env("HOME", "/run/home");
        Ok(lab.command(["/bin/sh", "-c", BOOT]))
    }
}
