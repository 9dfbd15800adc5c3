//! The socket on which tools reach the daemon. Who asks is taken from the kernel, not from them.
//!
//! Root, the cluster's own user and the members of its group may ask. What those of the group get
//! is decided by the access rules; without any (`enable-acl`) they may do with the CIB what root
//! may, so nobody else gets this far.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use cib_store::Who;
use crm_api::{Request, Response, exit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Connections that are served at the same time.
const CONNECTIONS_MAX: usize = 512;
/// Answers and events that wait for a slow reader before it is hung up on.
const BACKLOG_MAX: usize = 4096;
/// Requests of one connection that are taken while earlier ones are being answered; of somebody who
/// is neither root nor the cluster's user it is one.
const AHEAD_MAX: usize = 64;
/// The largest request of somebody who is neither root nor the cluster's user.
const STRANGER_FRAME_MAX: usize = 1 << 20;
/// Members of this group may talk to the cluster.
const GROUP: &str = "haclient";

/// A request with the way back.
pub(crate) struct Asked {
    pub(crate) who: Who,
    pub(crate) request: Request,
    pub(crate) answer: mpsc::Sender<Response>,
}

/// Listens at `path` and hands every request to `sink`.
pub(crate) fn listen(path: &Path, sink: mpsc::Sender<Asked>) -> anyhow::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the folder {}", dir.display()))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    // Everybody is answered, with a refusal if it has to be.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .with_context(|| format!("cannot open {} to users", path.display()))?;
    let open = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (sink, open) = (sink.clone(), Arc::clone(&open));
            tokio::spawn(async move {
                // A tool that hangs up or sends nonsense concerns nobody but itself.
                let _ = serve(stream, sink).await;
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, sink: mpsc::Sender<Asked>) -> anyhow::Result<()> {
    let credentials = stream.peer_cred()?;
    let user = user_name(&credentials);
    let groups = group_names(&user, &credentials);
    let (client, command) = program(&credentials);
    let who = Who { user, groups, client, command, internal: false };
    let (limit, ahead) =
        if is_trusted(&who) { (crm_ipc::FRAME_MAX, AHEAD_MAX) } else { (STRANGER_FRAME_MAX, 1) };
    let (reader, writer) = stream.into_split();
    let (turns, answers) = mpsc::channel(ahead);
    tokio::try_join!(take(reader, limit, who, sink, turns), answer(writer, answers))?;
    Ok(())
}

fn is_trusted(who: &Who) -> bool {
    matches!(who.user.as_str(), "root" | "hacluster")
}

/// The answers to one request.
type Answers = mpsc::Receiver<Response>;

/// Reads requests until the tool has no more, ahead of the answers as far as `turns` has room.
async fn take(
    mut stream: OwnedReadHalf,
    limit: usize,
    who: Who,
    sink: mpsc::Sender<Asked>,
    turns: mpsc::Sender<Answers>,
) -> anyhow::Result<()> {
    let refuse = async |code, reason| {
        let (answer, answers) = mpsc::channel(1);
        answer.send(Response::Failed { code, reason }).await?;
        anyhow::Ok(turns.send(answers).await?)
    };
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).await.is_err() {
            return Ok(());
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > limit {
            let reason = format!("a request of {length} bytes is too large");
            return refuse(exit::DATAERR, reason).await;
        }
        let mut body = Vec::new();
        // Memory follows what really arrives, not what the length claims.
        (&mut stream).take(length as u64).read_to_end(&mut body).await?;
        let request: Request = match crm_ipc::decode(&body) {
            Ok(request) => request,
            Err(error) => return refuse(76, error.to_string()).await,
        };
        if !is_trusted(&who) && !who.groups.iter().any(|group| group == GROUP) {
            let reason = format!(
                "user {} may not talk to the cluster: only root, hacluster and members of the \
                 group {GROUP} may",
                who.user
            );
            return refuse(exit::INSUFFICIENT_PRIVILEGES, reason).await;
        }
        let subscribes = request == Request::Subscribe;
        let (answer, answers) = mpsc::channel(if subscribes { BACKLOG_MAX } else { 1 });
        turns.send(answers).await?;
        sink.send(Asked { who: who.clone(), request, answer }).await?;
    }
}

/// Writes answers in the order of their requests.
async fn answer(
    mut stream: OwnedWriteHalf,
    mut turns: mpsc::Receiver<Answers>,
) -> anyhow::Result<()> {
    while let Some(mut answers) = turns.recv().await {
        while let Some(response) = answers.recv().await {
            stream.write_all(&crm_ipc::encode(&response)?).await?;
        }
    }
    Ok(())
}

fn user_name(credentials: &UCred) -> String {
    let uid = nix::unistd::Uid::from_raw(credentials.uid());
    if uid.is_root() {
        return "root".to_owned();
    }
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

fn group_names(user: &str, credentials: &UCred) -> Vec<String> {
    let gid = nix::unistd::Gid::from_raw(credentials.gid());
    let name = std::ffi::CString::new(user).unwrap_or_default();
    let ids = nix::unistd::getgrouplist(&name, gid).unwrap_or_else(|_| vec![gid]);
    ids.into_iter()
        .filter_map(|id| nix::unistd::Group::from_gid(id).ok()?)
        .map(|g| g.name)
        .collect()
}

/// The program's name and what it was told to do, for the log and the history of changes; they
/// prove nothing.
fn program(credentials: &UCred) -> (String, String) {
    let line = credentials.pid().and_then(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok());
    let line = line.unwrap_or_default();
    let mut words = line.split(|b| *b == 0).map(String::from_utf8_lossy);
    let path = words.next().unwrap_or_default();
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("unknown");
    (name.to_owned(), verb(words))
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
    use super::verb;

    #[test]
    fn a_command_is_told_without_what_it_is_given() {
        let verb = |line: &str| verb(line.split(' ').map(Into::into));
        assert_eq!(verb("resource create vip ocf:systole:vip passwd=x"), "resource create");
        assert_eq!(verb("apply /tmp/cib.xml --yes"), "apply");
        assert_eq!(verb("--create -o resources"), "");
    }
}
