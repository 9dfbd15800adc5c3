//! One host: powering on and off.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, pipe2, sethostname};
use resource_agents_netlink::{Netlink, NewAddress};

use crate::config::{HostConfig, Plan};
use crate::init::{self, InitCommand, InitPlan, READY_WITHOUT_PROC};
use crate::namespace::{NetworkNamespace, on_thread};
use crate::switch::Switch;
use crate::{Context, Error, mounts};

/// A host, on or off.
pub(crate) struct Host {
    pub(crate) config: HostConfig,
    pub(crate) number: u8,
    pub(crate) plan: Plan,
    pub(crate) folder: PathBuf,
    /// Group of the partition it is in.
    pub(crate) group: usize,
    running: Option<Running>,
}

struct Running {
    init: i32,
    /// While this is open, the host lives.
    _life: OwnedFd,
}

impl Host {
    pub(crate) fn new(config: HostConfig, number: u8, folder: PathBuf) -> Self {
        Self { config, number, plan: Plan::new(number), folder, group: 0, running: None }
    }

    /// Process 1, as the maker sees it; none when off. A host whose process 1 ended by itself
    /// (it halted) is off from then on; one that restarts itself is for a moment.
    pub(crate) fn init(&self) -> Option<i32> {
        self.running.as_ref().map(|running| running.init).filter(|init| is_alive(*init))
    }

    /// Whether process 1 was `init` and has ended because the host restarted itself: by
    /// `reboot(2)`, which a PID namespace tells its maker as the signal SIGHUP.
    pub(crate) fn restarts(&self, init: i32) -> bool {
        let ours = self.running.as_ref().is_some_and(|running| running.init == init);
        // The process stays a zombie, and its number taken, until the power is switched.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let ended = || waitid(Id::Pid(Pid::from_raw(init)), flags);
        ours && matches!(ended(), Ok(WaitStatus::Signaled(_, Signal::SIGHUP, _)))
    }

    pub(crate) fn power_on(&mut self, switch: &mut Switch) -> Result<(), Error> {
        if self.init().is_some() {
            return Ok(());
        }
        // What a host that halted by itself left behind.
        self.power_off(switch)?;
        let started = on_thread(|| self.start(switch));
        match started {
            Ok(running) => {
                self.running = Some(running);
                self.note_process();
                switch.set_group(self.number, self.group)
            }
            Err(error) => {
                let _ = switch.disconnect(self.number);
                Err(error)
            }
        }
    }

    /// Runs on a thread of its own, which leaves for the host's namespaces.
    fn start(&self, switch: &mut Switch) -> Result<Running, Error> {
        let console_path = self.folder.join("console.log");
        let console = OpenOptions::new().create(true).append(true).open(&console_path);
        let console = console.context(|| format!("open {}", console_path.display()))?;
        let command = self.command()?;
        unshare(
            CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWPID,
        )
        .context(|| "make the host's namespaces".into())?;
        sethostname(&self.config.name).context(|| "set the host's name".into())?;
        let network = NetworkNamespace::current()?;
        switch.connect(self.plan, self.number, &network)?;
        self.set_up_network()?;
        mounts::set_up(&self.config, &self.folder)?;
        let pipe = || pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(|| "make a pipe".into());
        let (life_read, life) = pipe()?;
        let (ready_read, ready) = pipe()?;
        let plan = InitPlan {
            command,
            command_is_init: self.config.command_is_init,
            life: life_read.as_fd(),
            ready: ready.as_fd(),
            console: console.as_fd(),
        };
        let init = init::start(&plan)?;
        drop(ready);
        let mut word = [0];
        let said = File::from(ready_read).read(&mut word);
        if said.context(|| "wait for process 1".into())? == 0 {
            let _ = waitpid(Pid::from_raw(init), None);
            return Err(Error::Config(format!("process 1 of {} ended at once", self.config.name)));
        }
        if word[0] == READY_WITHOUT_PROC {
            eprintln!("{}: sees the machine's /proc, mounting one was refused", self.config.name);
        }
        Ok(Running { init, _life: life })
    }

    fn set_up_network(&self) -> Result<(), Error> {
        let mut netlink = Netlink::open()?;
        for name in ["lo", "eth0", "eth1"] {
            let index = netlink.link_index(name)?;
            netlink.set_up(index, true)?;
        }
        let eth0 = netlink.link_index("eth0")?;
        let eth1 = netlink.link_index("eth1")?;
        netlink.add_address(&NewAddress::new(eth0, self.plan.cluster_ip().into(), 24))?;
        let mut ip6 = NewAddress::new(eth0, self.plan.cluster_ip6().into(), 64);
        ip6.nodad = true;
        // A machine may have IPv6 switched off.
        let _ = netlink.add_address(&ip6);
        netlink.add_address(&NewAddress::new(eth1, self.plan.management_ip().into(), 24))?;
        Ok(())
    }

    /// The command with its absolute path, in the form the system takes it.
    fn command(&self) -> Result<Option<InitCommand>, Error> {
        let Some(program) = self.config.command.first() else { return Ok(None) };
        let path = find_program(program, &self.config.env)?;
        let c = |bytes: &[u8]| {
            CString::new(bytes).map_err(|_| Error::Config("a command has a zero byte".into()))
        };
        let arguments = self.config.command.iter().map(|word| c(word.as_bytes()));
        let environment = self
            .config
            .env
            .iter()
            .map(|(name, value)| c(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
        Ok(Some(InitCommand {
            path: c(path.as_os_str().as_bytes())?,
            arguments: arguments.collect::<Result<_, _>>()?,
            environment: environment.collect::<Result<_, _>>()?,
        }))
    }

    /// Cuts the power: first the cables, so that nothing of the host can answer any more, then
    /// process 1 and with it everything. Returns when all is gone.
    pub(crate) fn power_off(&mut self, switch: &mut Switch) -> Result<(), Error> {
        switch.disconnect(self.number)?;
        if let Some(running) = self.running.take() {
            let init = Pid::from_raw(running.init);
            // It may just have ended by itself.
            let _ = kill(init, Signal::SIGKILL);
            let _ = waitpid(init, None);
            let _ = std::fs::remove_file(self.process_file());
        }
        Ok(())
    }

    fn process_file(&self) -> PathBuf {
        self.folder.join("process-1")
    }

    /// For a later run to find what this one left behind, should that ever happen.
    fn note_process(&self) {
        if let Some(init) = self.init()
            && let Some(started) = start_time(init)
        {
            let _ = std::fs::write(self.process_file(), format!("{init} {started}\n"));
        }
    }

    /// Ends process 1 of an earlier run of this host that was not ended.
    pub(crate) fn sweep(&self) {
        let Ok(text) = std::fs::read_to_string(self.process_file()) else { return };
        let mut words = text.split_whitespace();
        let (Some(Ok(pid)), Some(started)) = (words.next().map(str::parse), words.next()) else {
            return;
        };
        // Process numbers are used again; the time of start tells whether it is the same one.
        if start_time(pid).as_deref() == Some(started) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = std::fs::remove_file(self.process_file());
    }
}

/// A process whose end can be waited for without taking its exit status from its parent.
pub(crate) struct ProcessHandle(OwnedFd);

impl ProcessHandle {
    pub(crate) fn open(pid: i32) -> Result<Self, Error> {
        // SAFETY: a system call with numbers only.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match i32::try_from(fd) {
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(fd) if fd >= 0 => Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })),
            _ => Err(Error::system("watch process 1", nix::errno::Errno::last())),
        }
    }

    pub(crate) fn wait_for_end(&self) {
        let mut wait = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        while poll(&mut wait, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
    }
}

/// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
fn start_time(pid: i32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may contain anything but ends with the last parenthesis.
    let after_name = text.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn find_program(program: &OsStr, env: &[(OsString, OsString)]) -> Result<PathBuf, Error> {
    let path = Path::new(program);
    if program.as_bytes().contains(&b'/') {
        return Ok(path.to_owned());
    }
    let folders = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(folders.unwrap_or_default())
        .map(|folder| folder.join(path))
        .find(is_program)
        .ok_or_else(|| Error::Config(format!("{} is in no folder of PATH", path.display())))
}
