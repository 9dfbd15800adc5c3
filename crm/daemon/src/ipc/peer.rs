//! Who is at the other end of a connection.
//!
//! The kernel says which user and process it is. Everything else is looked up: names in the system's
//! user data base, which may be slow or not answer, and the command line, which is the other side's
//! memory. So it is done on threads that may wait, a bounded number of them, with a time limit, and
//! of somebody who is not let in nothing is read.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cib_store::Who;
use crm_api::exit;
use nix::unistd::{Gid, Group, Uid, User};
use tokio::net::unix::UCred;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Members of this group may talk to the cluster.
const GROUP: &str = "haclient";
/// The cluster's own user.
const CLUSTER_USER: &str = "hacluster";
/// Users that are looked up at the same time.
const LOOK_UPS_MAX: usize = 8;
/// Command lines that are read at the same time.
const COMMANDS_MAX: usize = 8;
/// How long looking a user up may take.
const LOOK_UP_TIME: Duration = Duration::from_secs(10);
/// How long reading a command line may take; the request goes without it then.
const COMMAND_TIME: Duration = Duration::from_secs(1);
/// Of a command line this much is read: a path and two words.
const COMMAND_BYTES: u64 = 4096 + 64;

/// Why somebody is not let in: exit status and reason.
pub(super) type Refusal = (i32, String);

/// Finds out who somebody is.
pub(super) struct Register {
    look_ups: Arc<Semaphore>,
    commands: Arc<Semaphore>,
}

impl Register {
    pub(super) fn new() -> Register {
        Register {
            look_ups: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
            commands: Arc::new(Semaphore::new(COMMANDS_MAX)),
        }
    }

    /// Who has these credentials; `cluster` is the id of the cluster's own user, if it is known.
    pub(super) async fn identify(
        &self,
        credentials: UCred,
        cluster: Option<u32>,
    ) -> Result<Who, Refusal> {
        let uid = credentials.uid();
        let (user, groups) = if uid == 0 {
            ("root".to_owned(), Vec::new())
        } else if Some(uid) == cluster {
            (CLUSTER_USER.to_owned(), Vec::new())
        } else {
            let gid = credentials.gid();
            let names = within(&self.look_ups, LOOK_UP_TIME, move || names(uid, gid)).await;
            names.ok_or_else(|| {
                let reason = format!(
                    "user id {uid} could not be looked up within {} s: see that the system's \
                     user data base answers (getent passwd {uid}), then try again",
                    LOOK_UP_TIME.as_secs()
                );
                (exit::TIMEOUT, reason)
            })?
        };
        if !may_ask(&user, &groups) {
            let reason = format!(
                "user {user} may not talk to the cluster: only root, {CLUSTER_USER} and members of \
                 the group {GROUP} may"
            );
            return Err((exit::INSUFFICIENT_PRIVILEGES, reason));
        }
        let pid = credentials.pid();
        let read = move || program(pid);
        let command = within(&self.commands, COMMAND_TIME, read).await;
        let (client, command) = command.unwrap_or_else(|| ("unknown".to_owned(), String::new()));
        Ok(Who { user, groups, client, command, internal: false })
    }
}

/// Does `work` on a thread that may wait; nothing if it takes too long. Work that hangs keeps its
/// permit, so that there are never more threads in it than that.
async fn within<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let done = async {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        let work = move || {
            let result = work();
            drop(permit);
            result
        };
        spawn_blocking(work).await.ok()
    };
    tokio::time::timeout(limit, done).await.ok().flatten()
}

/// Whether a user is one whose requests are heard at all. What those of the group get is decided by
/// the access rules; without any (`enable-acl`) they may do with the CIB what root may.
fn may_ask(user: &str, groups: &[String]) -> bool {
    is_trusted(user) || groups.iter().any(|group| group == GROUP)
}

/// Whether access rules never apply to a user.
pub(super) fn is_trusted(user: &str) -> bool {
    matches!(user, "root" | CLUSTER_USER)
}

/// The id of the cluster's own user.
pub(super) async fn cluster_user() -> Option<u32> {
    let look_up = || User::from_name(CLUSTER_USER).ok().flatten();
    spawn_blocking(look_up).await.ok().flatten().map(|user| user.uid.as_raw())
}

/// The names of a user and its groups.
fn names(uid: u32, gid: u32) -> (String, Vec<String>) {
    let user = match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    };
    let gid = Gid::from_raw(gid);
    let name = std::ffi::CString::new(user.as_str()).unwrap_or_default();
    let ids = nix::unistd::getgrouplist(&name, gid).unwrap_or_else(|_| vec![gid]);
    let groups = ids.into_iter().filter_map(|id| Group::from_gid(id).ok()?).map(|g| g.name);
    (user, groups.collect())
}

/// The program's name and what it was told to do, for the log and the history of changes; they
/// prove nothing.
fn program(pid: Option<i32>) -> (String, String) {
    let path = pid.map(|pid| format!("/proc/{pid}/cmdline"));
    let line = path.and_then(|path| start_of(Path::new(&path)).ok()).unwrap_or_default();
    let mut words = line.split(|b| *b == 0).map(String::from_utf8_lossy);
    let path = words.next().unwrap_or_default();
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("unknown");
    (name.to_owned(), verb(words))
}

/// The first bytes of a file that may be of any size.
fn start_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(COMMAND_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The words that a command line starts with, two at most: noun and verb. Whatever looks like a
/// name or a value is left out, as it may be a secret.
fn verb<'a>(words: impl Iterator<Item = std::borrow::Cow<'a, str>>) -> String {
    let plain = |word: &std::borrow::Cow<'a, str>| {
        let letters = |c: char| c.is_ascii_lowercase() || c == '-';
        (1..=16).contains(&word.len()) && !word.starts_with('-') && word.chars().all(letters)
    };
    words.take(2).take_while(plain).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_without_what_it_is_given() {
        let verb = |line: &str| verb(line.split(' ').map(Into::into));
        assert_eq!(verb("resource create vip ocf:systole:vip passwd=x"), "resource create");
        assert_eq!(verb("apply /tmp/cib.xml --yes"), "apply");
        assert_eq!(verb("--create -o resources"), "");
    }

    #[test]
    fn only_the_start_of_a_command_line_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cmdline");
        std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        let read = start_of(&path).unwrap();
        assert_eq!(read.len() as u64, COMMAND_BYTES);
        assert!(read.capacity() as u64 <= 4 * COMMAND_BYTES, "{}", read.capacity());
    }

    #[test]
    fn only_root_the_clusters_user_and_its_group_may_ask() {
        let group = |name: &str| vec!["users".to_owned(), name.to_owned()];
        assert!(may_ask("root", &[]) && may_ask("hacluster", &[]));
        assert!(may_ask("ann", &group("haclient")));
        assert!(!may_ask("ann", &group("wheel")) && !may_ask("nobody", &[]));
    }

    #[tokio::test]
    async fn look_ups_that_hang_hold_up_no_more_threads_than_they_may() {
        let permits = Arc::new(Semaphore::new(1));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let short = Duration::from_millis(1);
        assert_eq!(within(&permits, short, move || _ = wait.recv()).await, None);
        // The first one still has the only permit, so this one is never begun.
        let (begun, is_begun) = std::sync::mpsc::channel::<()>();
        assert_eq!(within(&permits, short, move || _ = begun.send(())).await, None);
        assert!(is_begun.try_recv().is_err());
        drop(go);
        let long = Duration::from_secs(60);
        assert_eq!(within(&permits, long, || 7).await, Some(7));
    }
}
