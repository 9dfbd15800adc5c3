//! Child processes in a process group of their own, with their output captured.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Of each stream this much is kept; the rest is read and dropped.
const OUTPUT_MAX: usize = 256 << 10;

/// How a process ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `command` with `input` on its standard input until it ends. A message on `kill` (or its
/// sender's end, which does not happen while the daemon lives) ends the whole process group.
pub(crate) async fn run(
    mut command: Command,
    input: Vec<u8>,
    kill: oneshot::Receiver<()>,
) -> io::Result<Ended> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    // An agent must not go on with what nobody will learn the end of.
    // SAFETY: prctl with PR_SET_PDEATHSIG is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    if let Some(mut stdin) = child.stdin.take() {
        tokio::spawn(async move {
            // An agent that does not read its input closes the pipe; that is its right.
            let _ = stdin.write_all(&input).await;
        });
    }
    let stdout = child.stdout.take().map(capture);
    let stderr = child.stderr.take().map(capture);
    let status = tokio::select! {
        status = child.wait() => status?,
        _ = kill => {
            if let Some(group) = group {
                // It may have ended in this moment: then there is nobody to tell.
                let _ = killpg(group, Signal::SIGKILL);
            }
            child.wait().await?
        }
    };
    Ok(Ended { status, stdout: collected(stdout).await, stderr: collected(stderr).await })
}

struct Capture {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

/// Reads a stream to its end, which may come long after the process: a server that an agent has
/// started inherits its output.
fn capture(mut stream: impl AsyncRead + Unpin + Send + 'static) -> Capture {
    let text = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&text);
    let reader = tokio::spawn(async move {
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            let mut sink = sink.lock().unwrap_or_else(|e| e.into_inner());
            let room = OUTPUT_MAX.saturating_sub(sink.len());
            sink.extend_from_slice(&buffer[..n.min(room)]);
        }
    });
    Capture { text, reader }
}

async fn collected(capture: Option<Capture>) -> String {
    let Some(Capture { text, reader }) = capture else { return String::new() };
    // What the process itself wrote is in the pipe already; its heirs are not waited for.
    let _ = tokio::time::timeout(Duration::from_millis(20), reader).await;
    let text = text.lock().unwrap_or_else(|e| e.into_inner());
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_and_status_are_kept() {
        let (_kill, killed) = oneshot::channel();
        let script = "read x; echo got $x; echo oops >&2; exit 7";
        let ended = run(shell(script), b"a\n".to_vec(), killed).await.unwrap();
        assert_eq!(ended.status.code(), Some(7));
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("got a\n", "oops\n"));
    }

    #[tokio::test]
    async fn a_server_left_behind_does_not_hold_the_result_up() {
        let (_kill, killed) = oneshot::channel();
        let ended = run(shell("sleep 5 & echo started"), Vec::new(), killed).await.unwrap();
        assert_eq!(ended.stdout, "started\n");
    }

    #[tokio::test]
    async fn killing_ends_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("child");
        let (kill, killed) = oneshot::channel();
        let script = format!("sleep 60 & echo $! > {}; wait", file.display());
        let running = tokio::spawn(run(shell(&script), Vec::new(), killed));
        let pid = loop {
            if let Ok(pid) = std::fs::read_to_string(&file)
                && let Ok(pid) = pid.trim().parse::<i32>()
            {
                break pid;
            }
            tokio::task::yield_now().await;
        };
        kill.send(()).unwrap();
        assert_eq!(running.await.unwrap().unwrap().status.code(), None);
        // The grandchild gets its signal too; soon it is a zombie of process 1 at most.
        let begun = std::time::Instant::now();
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ") {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{stat}");
            tokio::task::yield_now().await;
        }
    }
}
