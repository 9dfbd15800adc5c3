//! The container agent with a real Podman, on a host of its own so that neither containers nor
//! network rules are left on the machine. Runs only in the end-to-end run (`SYSTOLE_E2E=1`, as
//! root), where a missing tool is a failure.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cli_hosts::{Config, HostConfig, Hosts, Output};

const WAIT: Duration = Duration::from_secs(120);

/// Podman as it works without systemd and without the right to raise limits.
const CONTAINERS_CONF: &str = "[containers]\n\
    default_ulimits = [\"nofile=1024:4096\", \"nproc=4096:4096\"]\n\
    [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n";

struct Place {
    hosts: Hosts,
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("container-agent-{}", std::process::id()));
        let tools = folder.join("tools");
        let agents = folder.join("systole");
        for folder in [&tools, &agents, &folder.join("image/bin")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(folder.join("containers.conf"), CONTAINERS_CONF).unwrap();
        let root = folder.join("storage");
        let podman = format!(
            "#!/bin/sh\nCONTAINERS_CONF={}/containers.conf exec /usr/bin/podman --root {} \
             --runroot /run/pod --tmpdir /run/libpod --storage-driver vfs \"$@\"\n",
            folder.display(),
            root.display()
        );
        let wrapper = tools.join("podman");
        std::fs::write(&wrapper, podman).unwrap();
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.join("systole-agent");
        std::fs::copy(env!("CARGO_BIN_EXE_systole-agent"), &program).unwrap();
        symlink(&program, agents.join("container")).unwrap();
        let mut host = HostConfig::new("box", &[]);
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
        host.env = vec![("PATH".into(), path.into()), ("HOME".into(), "/root".into())];
        let config = Config { work: folder.join("hosts"), hosts: vec![host], bmc: None };
        let hosts = Hosts::new(config).unwrap();
        hosts.power_on("box").unwrap();
        let place = Self { hosts, folder };
        place.sh(
            "cd image && cp /bin/busybox bin/ && for n in sh sleep test touch; do ln -s busybox \
             bin/$n; done && tar -c . | podman import - bb:1",
        );
        place
    }

    fn try_sh(&self, script: &str) -> Output {
        let script = format!("cd {} && {script}", self.folder.display());
        self.hosts.exec("box", &["sh", "-c", &script], WAIT).unwrap()
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(output.success(), "{script}: {} {}", output.stdout, output.stderr);
        output.stdout
    }

    /// Runs the agent; exit code and error output.
    fn agent(&self, action: &str, more: &str) -> (i32, String) {
        let output = self.try_sh(&format!(
            "OCF_RESOURCE_INSTANCE=web:0 OCF_RESKEY_image=bb:1 OCF_RESKEY_network=host \
             OCF_RESKEY_run_cmd='sleep 1000' OCF_RESKEY_stop_timeout=1 {more} systole/container \
             {action}"
        ));
        (output.code().unwrap(), output.stderr)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let groups = self.try_sh("podman ps -aq --no-trunc").stdout;
        let _ = self.hosts.power_off("box");
        for id in groups.lines() {
            remove_groups(Path::new("/sys/fs/cgroup"), id);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The container's empty control groups are all that is left on the machine.
fn remove_groups(below: &Path, id: &str) {
    for controller in std::fs::read_dir(below).into_iter().flatten().flatten() {
        let parent = controller.path().join("libpod_parent");
        for kind in ["libpod-", "libpod-conmon-"] {
            let _ = std::fs::remove_dir(parent.join(format!("{kind}{id}")));
        }
    }
}

#[test]
fn a_container_lives_and_dies() {
    if std::env::var_os("SYSTOLE_E2E").is_none_or(|value| value != "1") {
        println!("not run: needs root, podman, runc and busybox-static; set SYSTOLE_E2E=1");
        return;
    }
    let place = Place::new();
    let text = place
        .sh("ocf-tester -n web -o image=bb:1 -o name=web -o network=host -o run_cmd='sleep 1000' \
         -o stop_timeout=1 $PWD/systole/container");
    assert!(text.contains("passed all tests") && !text.contains("* rc="), "{text}");

    // Everything but run and the check also goes through the REST socket.
    let service = "podman system service -t 0 unix:///run/api.sock";
    place.hosts.spawn("box", &["sh", "-c", service]).unwrap();
    place.sh("for i in $(seq 200); do test -S /run/api.sock && break; sleep 0.05; done");
    for more in ["", "OCF_RESKEY_socket=/run/api.sock"] {
        assert_eq!(place.agent("monitor", more).0, 7);
        assert_eq!(place.agent("start", more), (0, String::new()));
        assert_eq!(place.agent("start", more).0, 0);
        assert_eq!(place.agent("monitor", more).0, 0);
        // A clone's number is no part of a container's name, but told apart.
        assert!(place.sh("podman ps --format '{{.Names}}'").contains("web-0"));
        place.sh("podman kill web-0");
        place.sh("podman wait web-0");
        let (code, reason) = place.agent("monitor", more);
        assert!(code == 7 && reason.contains("web-0 is exited (exit code 137)"), "{reason}");
        // The dead one is replaced.
        assert_eq!(place.agent("start", more).0, 0);
        // It ignores the polite signal, so it is killed after the second it has.
        let began = Instant::now();
        assert_eq!(place.agent("stop", more).0, 0);
        assert!(began.elapsed() < Duration::from_secs(15));
        assert_eq!(place.sh("podman ps -aq"), "");
        assert_eq!(place.agent("stop", more).0, 0);
    }

    let check = "OCF_RESKEY_monitor_cmd='test ! -e /bad'";
    assert_eq!(place.agent("start", check).0, 0);
    assert_eq!(place.agent("monitor", check).0, 0);
    place.sh("podman exec web-0 touch /bad");
    let (code, reason) = place.agent("monitor", check);
    assert!(code == 1 && reason.contains("monitor_cmd ended with 1"), "{reason}");
    assert_eq!(place.agent("stop", check).0, 0);

    let reuse = "OCF_RESKEY_reuse=true";
    assert_eq!(place.agent("start", reuse).0, 0);
    place.sh("podman exec web-0 touch /kept");
    assert_eq!(place.agent("stop", reuse).0, 0);
    assert_eq!(place.agent("start", reuse).0, 0);
    place.sh("podman exec web-0 test -e /kept");
    assert_eq!(place.agent("stop", "").0, 0);

    let (code, reason) = place.agent("start", "OCF_RESKEY_image=nowhere:1");
    assert!(code == 5 && reason.contains("not on this host"), "{reason}");
    let (code, reason) = place.agent("start", "OCF_RESKEY_run_cmd='sh -c true'");
    assert!(code == 1 && reason.contains("exit code 0"), "{reason}");
    assert_eq!(place.agent("stop", "").0, 0);
}
