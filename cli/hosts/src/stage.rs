//! Becoming root of a user namespace, for those who are not root.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::{Context, Error};

/// Gives a process without root's rights the right to make namespaces: moves it to a user
/// namespace in which it is root. Does nothing for root. Must be called before the process has
/// started any thread, so first thing in `main`.
pub fn become_root() -> Result<(), Error> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).context(|| {
        "make a user namespace (the machine may not allow it to ordinary users; try as root)"
            .to_owned()
    })?;
    // The order is the kernel's: without giving up setgroups the group map is refused.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text)
            .context(|| format!("write {file} of the user namespace"))?;
    }
    Ok(())
}
