//! The container agent with a real Podman and a real Docker, each on a host of its own so that
//! neither containers nor network rules are left on the machine. Runs only in the end-to-end run (`SYSTOLE_E2E=1`, as
//! root), where a missing tool is a failure.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cli_hosts::{Config, HostConfig, Hosts, Output};

const WAIT: Duration = Duration::from_secs(120);
/// The runtime's REST socket, where Docker's command expects it.
const SOCKET: &str = "/run/docker.sock";

/// Podman as it works without systemd and without the right to raise limits.
const CONTAINERS_CONF: &str = "[containers]\n\
    default_ulimits = [\"nofile=1024:4096\", \"nproc=4096:4096\"]\n\
    [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n";

/// A host with a container runtime.
struct Place {
    runtime: &'static str,
    hosts: Hosts,
    folder: PathBuf,
}

impl Place {
    fn new(runtime: &'static str) -> Self {
        let name = format!("container-agent-{runtime}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let tools = folder.join("tools");
        let agents = folder.join("systole");
        for folder in [&tools, &agents, &folder.join("image/bin")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let program = folder.join("systole-agent");
        std::fs::copy(env!("CARGO_BIN_EXE_systole-agent"), &program).unwrap();
        symlink(&program, agents.join("container")).unwrap();
        let mut host = HostConfig::new("box", &[]);
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
        host.env = vec![("PATH".into(), path.into()), ("HOME".into(), "/root".into())];
        let config = Config { work: folder.join("hosts"), hosts: vec![host], bmc: None };
        let hosts = Hosts::new(config).unwrap();
        hosts.power_on("box").unwrap();
        let place = Self { runtime, hosts, folder };
        match runtime {
            "podman" => place.set_up_podman(),
            _ => place.start_docker(),
        }
        place.sh(&format!(
            "cd image && cp /bin/busybox bin/ && for n in sh sleep test touch; do ln -s busybox \
             bin/$n; done && tar -c . | {runtime} import - bb:1"
        ));
        place
    }

    /// Podman with its storage in the test's folder, and its REST socket.
    fn set_up_podman(&self) {
        let folder = self.folder.display();
        std::fs::write(self.folder.join("containers.conf"), CONTAINERS_CONF).unwrap();
        let script = format!(
            "#!/bin/sh\nCONTAINERS_CONF={folder}/containers.conf exec /usr/bin/podman \
             --root {folder}/storage --runroot /run/pod --tmpdir /run/libpod \
             --storage-driver vfs \"$@\"\n"
        );
        let wrapper = self.folder.join("tools/podman");
        std::fs::write(&wrapper, script).unwrap();
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.serve(&format!("podman system service -t 0 unix://{SOCKET}"));
    }

    /// Docker's daemon, with its storage in the test's folder and control groups of its own.
    fn start_docker(&self) {
        let folder = self.folder.display();
        let parent = self.folder.file_name().unwrap().to_str().unwrap();
        self.serve(&format!(
            "dockerd --data-root {folder}/storage --exec-root /run/docker --pidfile \
             /run/docker.pid --storage-driver vfs --cgroup-parent /{parent} -H unix://{SOCKET} \
             >{folder}/dockerd.log 2>&1"
        ));
    }

    fn serve(&self, command: &str) {
        self.hosts.spawn("box", &["sh", "-c", command]).unwrap();
        self.sh(&format!("for i in $(seq 600); do test -S {SOCKET} && break; sleep 0.05; done"));
        let runtime = self.runtime;
        self.sh(&format!("for i in $(seq 100); do {runtime} ps && break; sleep 0.1; done"));
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
             OCF_RESKEY_runtime={} OCF_RESKEY_run_cmd='sleep 1000' OCF_RESKEY_stop_timeout=1 \
             {more} systole/container {action}",
            self.runtime
        ));
        (output.code().unwrap(), output.stderr)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ids = self.try_sh(&format!("{} ps -aq --no-trunc", self.runtime)).stdout;
        let _ = self.hosts.power_off("box");
        remove_groups(self.folder.file_name().unwrap(), &ids);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The containers' empty control groups are all that is left on the machine.
fn remove_groups(docker: &OsStr, ids: &str) {
    for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let podman = controller.path().join("libpod_parent");
        let docker = controller.path().join(docker);
        for id in ids.lines() {
            let _ = std::fs::remove_dir(podman.join(format!("libpod-{id}")));
            let _ = std::fs::remove_dir(podman.join(format!("libpod-conmon-{id}")));
            let _ = std::fs::remove_dir(docker.join(id));
        }
        let _ = std::fs::remove_dir(docker);
    }
}

fn asked_for() -> bool {
    let asked = std::env::var_os("SYSTOLE_E2E").is_some_and(|value| value == "1");
    if !asked {
        println!("not run: needs root, podman, docker and busybox-static; set SYSTOLE_E2E=1");
    }
    asked
}

#[test]
fn a_container_lives_and_dies_with_podman() {
    if asked_for() {
        lives_and_dies("podman");
    }
}

#[test]
fn a_container_lives_and_dies_with_docker() {
    if asked_for() {
        lives_and_dies("docker");
    }
}

fn lives_and_dies(runtime: &'static str) {
    let place = Place::new(runtime);
    let text = place.sh(&format!(
        "ocf-tester -n web -o image=bb:1 -o name=web -o network=host -o run_cmd='sleep 1000' \
         -o stop_timeout=1 -o runtime={runtime} $PWD/systole/container"
    ));
    assert!(text.contains("passed all tests") && !text.contains("* rc="), "{text}");
    let run = |words: &str| place.sh(&format!("{runtime} {words}"));

    // Everything but run and the check also goes through the REST socket.
    for more in ["", &format!("OCF_RESKEY_socket={SOCKET}")] {
        assert_eq!(place.agent("monitor", more).0, 7);
        assert_eq!(place.agent("start", more), (0, String::new()));
        assert_eq!(place.agent("start", more).0, 0);
        assert_eq!(place.agent("monitor", more).0, 0);
        // A clone's number is no part of a container's name, but told apart.
        assert!(run("ps --format '{{.Names}}'").contains("web-0"));
        run("kill web-0");
        run("wait web-0");
        let (code, reason) = place.agent("monitor", more);
        assert!(code == 7 && reason.contains("web-0 is exited (exit code 137)"), "{reason}");
        // The dead one is replaced.
        assert_eq!(place.agent("start", more).0, 0);
        // It ignores the polite signal, so it is killed after the second it has.
        let began = Instant::now();
        assert_eq!(place.agent("stop", more).0, 0);
        assert!(began.elapsed() < Duration::from_secs(15));
        assert_eq!(run("ps -aq"), "");
        assert_eq!(place.agent("stop", more).0, 0);
    }

    let check = "OCF_RESKEY_monitor_cmd='test ! -e /bad'";
    assert_eq!(place.agent("start", check).0, 0);
    assert_eq!(place.agent("monitor", check).0, 0);
    run("exec web-0 touch /bad");
    let (code, reason) = place.agent("monitor", check);
    assert!(code == 1 && reason.contains("monitor_cmd ended with 1"), "{reason}");
    assert_eq!(place.agent("stop", check).0, 0);

    let reuse = "OCF_RESKEY_reuse=true";
    assert_eq!(place.agent("start", reuse).0, 0);
    run("exec web-0 touch /kept");
    assert_eq!(place.agent("stop", reuse).0, 0);
    assert_eq!(place.agent("start", reuse).0, 0);
    run("exec web-0 test -e /kept");
    assert_eq!(place.agent("stop", "").0, 0);

    let (code, reason) = place.agent("start", "OCF_RESKEY_image=nowhere:1");
    assert!(code == 5 && reason.contains("not on this host"), "{reason}");
    let (code, reason) = place.agent("start", "OCF_RESKEY_run_cmd='sh -c true'");
    assert!(code == 1 && reason.contains("exit code 0"), "{reason}");
    assert_eq!(place.agent("stop", "").0, 0);
}
