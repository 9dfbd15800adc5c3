//! What is kept for later: inputs of plans, and the record of what happened.
//!
//! A thread of its own writes both, so that nothing which the cluster waits for waits for this. Its
//! queue is bounded: what does not fit is left out, and that is said.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use cib_store::Version;
use cib_xml::Doc;
use crm_history::{Fact, Recorder};
use tracing::{info, warn};

use crate::inputs::{self, New, Numbers, Owner, Series};
use crate::plan::Computed;
use crate::record::Record;

/// Facts and inputs that may wait to be written.
const WAITING_MAX: usize = 1024;
/// Inputs among them: each is a whole CIB.
const INPUTS_MAX: usize = 8;
/// Inputs of failed plans that are kept, whatever the CIB's options say.
const FAILED_MAX: i64 = 1000;
/// How long the end of the daemon waits for what is not written yet.
const PATIENCE: Duration = Duration::from_secs(2);

struct Offered {
    new: New,
    cib: Arc<Doc>,
    now_s: u64,
}

enum Job {
    Fact { at_ms: u64, fact: Fact },
    Input(Offered),
    Finish(mpsc::Sender<()>),
}

/// The way to the thread.
pub(crate) struct Archive {
    jobs: SyncSender<Job>,
    numbers: Numbers,
    /// The input that has a file and was not kept so far.
    offered: Option<Offered>,
    inputs: Arc<AtomicUsize>,
    /// Facts that did not fit.
    lost: u64,
}

impl Archive {
    /// Starts the thread. Inputs go to `pengine` in the folder, the record to `systole`; `cib` is
    /// what the node starts with.
    pub(crate) fn start(state_dir: &Path, cib: &Doc) -> std::io::Result<Archive> {
        let (jobs, queue) = mpsc::sync_channel(WAITING_MAX);
        let numbers = Numbers::read(&state_dir.join("pengine"));
        let inputs = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            recorder: Recorder::new(cib),
            record: Record::new(&state_dir.join("systole")),
            waiting: Arc::clone(&inputs),
            record_fails: false,
            inputs_fail: false,
        };
        std::thread::Builder::new()
            .name("systole-archive".to_owned())
            .spawn(move || writer.run(&queue))?;
        Ok(Archive { jobs, numbers, offered: None, inputs, lost: 0 })
    }

    /// Keeps a fact.
    pub(crate) fn fact(&mut self, at_ms: u64, fact: Fact) {
        if self.lost > 0 {
            let lost = Fact::Lost(self.lost);
            if self.jobs.try_send(Job::Fact { at_ms, fact: lost }).is_ok() {
                self.lost = 0;
            }
        }
        if self.lost > 0 || self.jobs.try_send(Job::Fact { at_ms, fact }).is_err() {
            self.lost += 1;
        }
    }

    /// The file for a plan's input, if it is one of those that are kept; until the next plan's it
    /// can be kept by [`Archive::keep`].
    pub(crate) fn offer(&mut self, plan: &Computed) -> Option<PathBuf> {
        if let Some(refused) = self.offered.take() {
            self.numbers.take_back(refused.new);
        }
        let version = Version::of(&plan.cib);
        let (path, new) = self.numbers.file(version, plan.series, plan.series_max)?;
        let offer = |new| Offered { new, cib: Arc::clone(&plan.cib), now_s: plan.now_s };
        self.offered = new.map(offer);
        Some(path)
    }

    /// Has the input of a plan that failed written, and returns where.
    pub(crate) fn keep_failed(&mut self, cib: &Arc<Doc>, now_s: u64) -> Option<PathBuf> {
        if let Some(refused) = self.offered.take() {
            self.numbers.take_back(refused.new);
        }
        let (path, new) = self.numbers.file(Version::of(cib), Series::Error, FAILED_MAX)?;
        self.offered = new.map(|new| Offered { new, cib: Arc::clone(cib), now_s });
        self.keep();
        Some(path)
    }

    /// Has the input that was offered last written, if it is not there already.
    pub(crate) fn keep(&mut self) {
        let Some(input) = self.offered.take() else { return };
        let path = input.new.path.clone();
        let fits = self.inputs.fetch_add(1, Ordering::Relaxed) < INPUTS_MAX;
        if !fits || self.jobs.try_send(Job::Input(input)).is_err() {
            self.inputs.fetch_sub(1, Ordering::Relaxed);
            warn!("{} is not kept: plans are made faster than they can be written", path.display());
        }
    }

    /// Waits, but not for long, until everything has been written.
    pub(crate) fn finish(&self) {
        let (done, finished) = mpsc::channel();
        match self.jobs.try_send(Job::Finish(done)) {
            Ok(()) => drop(finished.recv_timeout(PATIENCE)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

struct Writer {
    recorder: Recorder,
    record: Record,
    waiting: Arc<AtomicUsize>,
    record_fails: bool,
    inputs_fail: bool,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        let owner = Owner::look_up();
        while let Ok(job) = queue.recv() {
            match job {
                Job::Fact { at_ms, fact } => {
                    for entry in self.recorder.record(at_ms, fact) {
                        let result = self.record.append(&entry);
                        said(&mut self.record_fails, result, "what happens is not recorded");
                    }
                }
                Job::Input(Offered { new, cib, now_s }) => {
                    let result = inputs::write(&new, &cib, now_s, &owner);
                    said(&mut self.inputs_fail, result, "inputs of plans are not kept");
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                }
                Job::Finish(done) => drop(done.send(())),
            }
        }
    }
}

/// Says once that something cannot be written, and that it can be again.
fn said(fails: &mut bool, result: std::io::Result<()>, what: &str) {
    match (&result, *fails) {
        (Err(error), false) => {
            warn!("{what}: {error}; the cluster does without, see that the disk has room");
        }
        (Ok(()), true) => info!("it is possible again: no longer holds that {what}"),
        _ => {}
    }
    *fails = result.is_err();
}
