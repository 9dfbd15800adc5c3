//! The socket on which tools reach the daemon. Who asks is taken from the kernel, not from them.
//!
//! Root, the cluster's own user and the members of its group may ask; everybody else is told so and
//! hung up on before anything is read. Connections are limited by user, and frames and answers in
//! time, so that nobody can hold up others.

mod peer;
mod slots;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use cib_store::Who;
use crm_api::{Request, Response, exit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use peer::Register;
use slots::{Slot, Slots};

/// Answers and events that wait for a slow reader before it is hung up on.
const BACKLOG_MAX: usize = 4096;
/// Requests that wait for the main loop: of root and the cluster's user, and of all others.
const QUEUE_MAX: usize = 256;
/// Requests of one connection that are taken while earlier ones are being answered; of somebody who
/// is neither root nor the cluster's user it is one.
const AHEAD_MAX: usize = 64;
/// The largest request of somebody who is neither root nor the cluster's user.
const OTHERS_FRAME_MAX: usize = 1 << 20;
/// How long a request may take from its first byte to its last.
const FRAME_TIME: Duration = Duration::from_secs(60);
/// How long somebody who is neither root nor the cluster's user may take to begin to ask.
const BEGIN_TIME: Duration = Duration::from_secs(30);
/// How long the other side may take to read an answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A request with the way back.
pub(crate) struct Asked {
    pub(crate) who: Who,
    pub(crate) request: Request,
    pub(crate) answer: mpsc::Sender<Response>,
}

/// Requests for the main loop.
pub(crate) struct Requests {
    trusted: mpsc::Receiver<Asked>,
    others: mpsc::Receiver<Asked>,
}

impl Requests {
    /// The next request, as soon as there is one.
    pub(crate) async fn next(&mut self) -> Option<Asked> {
        tokio::select! {
            asked = self.trusted.recv() => asked,
            asked = self.others.recv() => asked,
        }
    }

    /// What waits, one of root or the cluster's user and one of all others at most: both get their
    /// turn however much the other ones ask.
    pub(crate) fn waiting(&mut self) -> impl Iterator<Item = Asked> {
        [self.trusted.try_recv().ok(), self.others.try_recv().ok()].into_iter().flatten()
    }
}

/// What all connections share.
struct Desk {
    trusted: mpsc::Sender<Asked>,
    others: mpsc::Sender<Asked>,
    slots: Arc<Slots>,
    register: Register,
    /// The cluster's own user, once that has been looked up.
    cluster: OnceLock<Option<u32>>,
}

impl Desk {
    fn new() -> (Desk, Requests) {
        let (trusted, from_trusted) = mpsc::channel(QUEUE_MAX);
        let (others, from_others) = mpsc::channel(QUEUE_MAX);
        let requests = Requests { trusted: from_trusted, others: from_others };
        let (slots, register, cluster) = (Arc::default(), Register::new(), OnceLock::new());
        (Desk { trusted, others, slots, register, cluster }, requests)
    }

    fn cluster_user(&self) -> Option<u32> {
        self.cluster.get().copied().flatten()
    }

    /// Serves a new connection, or refuses it in words.
    fn welcome(self: &Arc<Desk>, stream: UnixStream, credentials: UCred) {
        match self.slots.take(credentials.uid(), self.cluster_user()) {
            Ok(slot) => {
                let desk = Arc::clone(self);
                tokio::spawn(async move {
                    // A tool that hangs up or sends nonsense concerns nobody but itself.
                    let _ = desk.serve(stream, credentials, slot).await;
                });
            }
            Err(reason) => refuse(&stream, exit::ERROR, reason),
        }
    }

    async fn serve(
        &self,
        stream: UnixStream,
        credentials: UCred,
        _slot: Slot,
    ) -> anyhow::Result<()> {
        let who = match self.register.identify(credentials, self.cluster_user()).await {
            Ok(who) => who,
            Err((code, reason)) => {
                refuse(&stream, code, reason);
                return Ok(());
            }
        };
        let trusted = peer::is_trusted(&who.user);
        let (limits, sink) = match trusted {
            true => (Limits::TRUSTED, self.trusted.clone()),
            false => (Limits::OTHERS, self.others.clone()),
        };
        let (reader, writer) = stream.into_split();
        let (turns, answers) = mpsc::channel(limits.ahead);
        tokio::try_join!(take(reader, limits, who, sink, turns), answer(writer, answers))?;
        Ok(())
    }
}

/// What somebody may ask for at most.
#[derive(Clone, Copy)]
struct Limits {
    /// Bytes of a request.
    frame: usize,
    /// Requests before the first one is answered.
    ahead: usize,
    /// Time until the first request begins.
    begin: Option<Duration>,
}

impl Limits {
    const TRUSTED: Limits = Limits { frame: crm_ipc::FRAME_MAX, ahead: AHEAD_MAX, begin: None };
    const OTHERS: Limits = Limits { frame: OTHERS_FRAME_MAX, ahead: 1, begin: Some(BEGIN_TIME) };
}

/// Listens at `path`.
pub(crate) fn listen(path: &Path) -> anyhow::Result<Requests> {
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
    let (desk, requests) = Desk::new();
    let desk = Arc::new(desk);
    let looks_up = Arc::clone(&desk);
    tokio::spawn(async move {
        let user = peer::cluster_user().await;
        // Nobody else sets it.
        let _ = looks_up.cluster.set(user);
    });
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // Who has gone already needs no answer.
            if let Ok(credentials) = stream.peer_cred() {
                desk.welcome(stream, credentials);
            }
        }
    });
    Ok(requests)
}

/// Says why not, and hangs up.
fn refuse(stream: &UnixStream, code: i32, reason: String) {
    if let Ok(frame) = crm_ipc::encode(&Response::Failed { code, reason }) {
        // The buffer of a new connection has room for it; who has gone does not want it.
        let _ = stream.try_write(&frame);
    }
}

/// The answers to one request.
type Answers = mpsc::Receiver<Response>;

/// Reads requests until the tool has no more, ahead of the answers as far as `turns` has room.
async fn take(
    mut stream: OwnedReadHalf,
    limits: Limits,
    who: Who,
    sink: mpsc::Sender<Asked>,
    turns: mpsc::Sender<Answers>,
) -> anyhow::Result<()> {
    let mut begin = limits.begin;
    loop {
        let request = match next_request(&mut stream, limits.frame, begin.take()).await {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err((code, reason)) => {
                let (answer, answers) = mpsc::channel(1);
                answer.send(Response::Failed { code, reason }).await?;
                turns.send(answers).await?;
                return Ok(());
            }
        };
        let subscribes = request == Request::Subscribe;
        let (answer, answers) = mpsc::channel(if subscribes { BACKLOG_MAX } else { 1 });
        turns.send(answers).await?;
        sink.send(Asked { who: who.clone(), request, answer }).await?;
    }
}

/// Reads a request, which has to begin within `begin`; nothing if the other side hangs up.
async fn next_request(
    stream: &mut OwnedReadHalf,
    limit: usize,
    begin: Option<Duration>,
) -> Result<Option<Request>, peer::Refusal> {
    let late = |what: &str, time: Duration| {
        let reason =
            format!("the connection is closed: no {what} request came within {} s", time.as_secs());
        (exit::TIMEOUT, reason)
    };
    let mut length = [0; 4];
    let first = stream.read_exact(&mut length[..1]);
    let first = match begin {
        Some(time) => timeout(time, first).await.map_err(|_| late("first", time))?,
        None => first.await,
    };
    if first.is_err() {
        return Ok(None);
    }
    let rest = async {
        if stream.read_exact(&mut length[1..]).await.is_err() {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > limit {
            return Err((exit::DATAERR, format!("a request of {length} bytes is too large")));
        }
        let mut body = Vec::new();
        // Memory follows what really arrives, not what the length claims.
        let read = (&mut *stream).take(length as u64).read_to_end(&mut body).await;
        Ok(read.is_ok().then_some(body))
    };
    let rest = timeout(FRAME_TIME, rest).await.map_err(|_| late("whole", FRAME_TIME))?;
    let Some(body) = rest? else { return Ok(None) };
    crm_ipc::decode(&body).map(Some).map_err(|error| (76, error.to_string()))
}

/// Writes answers in the order of their requests.
async fn answer(
    mut stream: OwnedWriteHalf,
    mut turns: mpsc::Receiver<Answers>,
) -> anyhow::Result<()> {
    while let Some(mut answers) = turns.recv().await {
        while let Some(response) = answers.recv().await {
            let frame = crm_ipc::encode(&response)?;
            timeout(ANSWER_TIME, stream.write_all(&frame)).await??;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reply(stream: &mut UnixStream) -> Response {
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.unwrap();
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut body).await.unwrap();
        crm_ipc::decode(&body).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_or_end_a_request_in_time_is_hung_up_on_in_words() {
        for (begin, sent) in [(Some(BEGIN_TIME), &[][..]), (None, &[9, 0][..])] {
            let (mut tool, daemon) = UnixStream::pair().unwrap();
            tool.write_all(sent).await.unwrap();
            let (mut reader, _writer) = daemon.into_split();
            let refused = next_request(&mut reader, 1000, begin).await.unwrap_err();
            assert_eq!(refused.0, exit::TIMEOUT);
            assert!(refused.1.contains("closed"), "{}", refused.1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_answers_is_hung_up_on() {
        let (_tool, daemon) = UnixStream::pair().unwrap();
        let (_reader, writer) = daemon.into_split();
        let (turns, waiting) = mpsc::channel(1);
        let (sender, answers) = mpsc::channel(1);
        turns.send(answers).await.unwrap();
        let large = Response::Cib(Some("x".repeat(8 << 20)));
        sender.send(large).await.unwrap();
        assert!(answer(writer, waiting).await.is_err());
    }

    #[tokio::test]
    async fn a_refusal_is_read_by_a_tool_that_has_asked_already() {
        let (mut tool, daemon) = UnixStream::pair().unwrap();
        tool.write_all(&crm_ipc::encode(&Request::Info).unwrap()).await.unwrap();
        refuse(&daemon, exit::ERROR, "no".to_owned());
        drop(daemon);
        let no = Response::Failed { code: exit::ERROR, reason: "no".to_owned() };
        assert_eq!(reply(&mut tool).await, no);
    }

    #[tokio::test]
    async fn both_kinds_of_users_get_their_turn() {
        let (desk, mut requests) = Desk::new();
        let ask = |sink: &mpsc::Sender<Asked>, user: &str| {
            let who = Who { user: user.to_owned(), ..Who::default() };
            let asked = Asked { who, request: Request::Info, answer: mpsc::channel(1).0 };
            sink.try_send(asked).is_ok()
        };
        while ask(&desk.others, "ann") {}
        assert!(ask(&desk.trusted, "root"));
        let users: Vec<String> = requests.waiting().map(|asked| asked.who.user).collect();
        assert_eq!(users, ["root", "ann"]);
    }
}
