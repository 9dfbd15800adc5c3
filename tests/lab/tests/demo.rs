//! The demo as its user has it, root or not: what it shows, and that it leaves nothing. Runs only
//! in the end-to-end run (`SYSTOLE_E2E=1`, as root).

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests_lab::{PATIENCE, asked_for};

/// The user nobody.
const NOBODY: u32 = 65534;

/// A folder with the program, for a user.
struct Place {
    user: u32,
    folder: tempfile::TempDir,
}

impl Place {
    fn new(user: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("try-demo-").tempdir().unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        chown(&folder, Some(user), Some(user)).unwrap();
        let program = std::env::var_os("SYSTOLE_BIN").map(PathBuf::from);
        let program = program.expect("SYSTOLE_BIN names the program");
        std::fs::copy(program, folder.path().join("systole")).unwrap();
        Self { user, folder }
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("systole")
    }

    /// A command as the user would run it.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.uid(self.user).gid(self.user).current_dir(&self.folder).stdin(Stdio::null());
        command.env("HOME", self.folder.path()).env("TMPDIR", self.folder.path());
        command
    }

    fn shell(&self, line: &str) -> String {
        let output = self.command("/bin/sh").args(["-c", line]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Folders of demos.
    fn leftovers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("systole-demo-")).collect()
    }

    /// Numbers of processes that run the program, or something from its hosts.
    fn processes(&self) -> Vec<i32> {
        let folder = self.folder.path().to_str().unwrap().to_owned();
        let is_ours = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&folder)
        };
        all_processes().filter(is_ours).collect()
    }

    #[track_caller]
    fn assert_nothing_left(&self, namespaces: &BTreeSet<String>) {
        let began = Instant::now();
        let left = || -> Vec<i32> {
            let others = all_processes();
            let inside = others.filter(|pid| !namespaces_of(*pid).is_disjoint(namespaces));
            self.processes().into_iter().chain(inside).collect()
        };
        // A process that was killed takes a moment to go.
        while !left().is_empty() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(left(), [0; 0]);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.folder.path().to_str().unwrap()), "{mounts}");
    }
}

fn all_processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The namespaces that a process does not share with this one.
fn namespaces_of(pid: i32) -> BTreeSet<String> {
    let of = |who: &str| -> BTreeSet<String> {
        let kinds = ["net", "mnt", "pid", "uts", "ipc", "user"].into_iter();
        let link = |kind| std::fs::read_link(format!("/proc/{who}/ns/{kind}")).ok();
        kinds.filter_map(link).map(|link| link.to_string_lossy().into_owned()).collect()
    };
    of(&pid.to_string()).difference(&of("self")).cloned().collect()
}

/// A running demo.
struct Demo {
    child: Child,
    text: Arc<Mutex<String>>,
}

impl Demo {
    fn start(place: &Place, words: &[&str]) -> Self {
        let mut command = place.command(place.program());
        command.arg("demo").args(words).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let text = Arc::new(Mutex::new(String::new()));
        let (stdout, sink) = (child.stdout.take().unwrap(), Arc::clone(&text));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
                sink.push_str(&line);
                sink.push('\n');
            }
        });
        Self { child, text }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[track_caller]
    fn wait_for(&self, what: impl Fn(&str) -> bool, name: &str) {
        let began = Instant::now();
        while !what(&self.text()) {
            assert!(began.elapsed() < PATIENCE, "{name} is not shown:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The time at which a step was, in seconds.
#[track_caller]
fn time_of(text: &str, step: &str) -> f64 {
    let line = text.lines().find(|line| line.contains(step) && line.contains(" s  "));
    let line = line.unwrap_or_else(|| panic!("no step '{step}':\n{text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn shows_a_failover(text: &str) {
    assert!(text.contains("The VIP 10.77.0.100 answers"), "{text}");
    assert!(text.contains("is a member again after"), "{text}");
    let [cut, detected, membership, fenced, started, answers] = [
        "cut",
        "loss detected",
        "new membership formed",
        "fence confirmed by the BMC",
        "resources started elsewhere",
        "VIP answers again, from ",
    ]
    .map(|step| time_of(text, step));
    assert!(cut == 0.0 && cut < detected && detected <= membership, "{text}");
    assert!(membership <= fenced && fenced <= started && fenced <= answers, "{text}");
    assert!(text.contains("username=admin password=… "), "{text}");
}

fn is_tried(user: u32) {
    let place = Place::new(user);
    let mut demo = Demo::start(&place, &[]);
    demo.wait_for(|text| text.contains("Logs: "), "the end of the show");
    let text = demo.text();
    shows_a_failover(&text);
    let namespaces: BTreeSet<String> =
        place.processes().into_iter().flat_map(namespaces_of).collect();
    // Network, PID, mount, UTS and IPC of four hosts.
    assert!(namespaces.len() >= 20, "{namespaces:?}");

    // What it says to try works, except what would go on without end or is not installed.
    let advice = |part: &str| text.lines().find(|line| line.contains(part)).unwrap().to_owned();
    let status = place.shell(&advice("cluster status"));
    assert!(status.contains("has quorum (3 of 3 votes"), "{status}");
    assert!(place.shell(&advice("stonith history")).contains("done"));
    assert!(place.shell(&advice("crm_mon -1")).contains("Online: [ alpha beta gamma ]"));
    let power = place.shell(&advice("chassis power status"));
    assert_eq!(power, "Chassis Power is on\n");

    // The real ipmitool cuts a node's power, and the demo shows the cluster's new state.
    let before = demo.text().len();
    place.shell(&advice("chassis power off"));
    demo.wait_for(
        |text| {
            let gamma = text[before..].lines().find(|line| line.trim().starts_with("gamma "));
            gamma.is_some_and(|line| line.to_lowercase().contains("offline"))
        },
        "that gamma is off",
    );

    demo.signal(Signal::SIGINT);
    assert!(demo.end().success(), "{}", demo.text());
    assert!(demo.text().ends_with("\nCleaning up.\n"), "{}", demo.text());
    assert_eq!(place.leftovers(), [""; 0]);
    place.assert_nothing_left(&namespaces);

    // Interrupted in the middle of things.
    let mut demo = Demo::start(&place, &[]);
    demo.wait_for(|text| text.contains("is cut."), "the power cut");
    demo.signal(Signal::SIGINT);
    assert!(demo.end().success(), "{}", demo.text());
    assert_eq!(place.leftovers(), [""; 0]);

    // A run that is killed cannot clean up; its hosts end with it, and the next run does the rest.
    let mut demo = Demo::start(&place, &[]);
    demo.wait_for(|text| text.contains("answers again, from"), "the failover");
    let namespaces = place.processes().into_iter().flat_map(namespaces_of).collect();
    demo.signal(Signal::SIGKILL);
    assert!(!demo.end().success());
    place.assert_nothing_left(&namespaces);
    assert_eq!(place.leftovers().len(), 1);
    let owner = std::fs::metadata(place.folder.path().join(&place.leftovers()[0])).unwrap();
    assert_eq!((owner.uid(), owner.mode() & 0o777), (user, 0o700));
    let mut demo = Demo::start(&place, &["--once"]);
    assert!(demo.end().success(), "{}", demo.text());
    assert_eq!(place.leftovers(), [""; 0]);
}

#[test]
fn root_can_try_it() {
    if asked_for() {
        is_tried(0);
    }
}

#[test]
fn an_ordinary_user_can_try_it() {
    if asked_for() {
        is_tried(NOBODY);
    }
}
