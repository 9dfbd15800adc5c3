//! Work on files that nobody computes with: done one after the other on a thread of its own, so that
//! the main loop waits for no disk and the order in which files change is that of the effects.

use std::sync::mpsc::{SyncSender, sync_channel};

use crate::daemon::Incoming;
use crate::queue;

/// Errands that may wait.
const WAITING_MAX: usize = 1024;

type Errand = Box<dyn FnOnce() -> Vec<Incoming> + Send>;

/// The way to the thread.
pub(crate) struct Errands(SyncSender<Errand>);

impl Errands {
    /// Starts the thread; what comes of its work goes to `sender`.
    pub(crate) fn start(sender: queue::Sender) -> std::io::Result<Errands> {
        let (errands, queue) = sync_channel::<Errand>(WAITING_MAX);
        std::thread::Builder::new().name("systole-files".to_owned()).spawn(move || {
            while let Ok(errand) = queue.recv() {
                errand().into_iter().for_each(|incoming| sender.send_from_thread(incoming));
            }
        })?;
        Ok(Errands(errands))
    }

    /// Has something done, unless too much waits already.
    ///
    /// # Errors
    /// In words, if it is not going to be done.
    pub(crate) fn send(
        &self,
        errand: impl FnOnce() -> Vec<Incoming> + Send + 'static,
    ) -> Result<(), String> {
        self.0.try_send(Box::new(errand)).map_err(|_| {
            format!("{WAITING_MAX} changes of files wait already: the disk does not keep up")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errands_are_done_in_order_and_what_does_not_fit_is_refused() {
        let (sender, _receiver) = queue::channel();
        let errands = Errands::start(sender).unwrap();
        let (go, wait) = sync_channel::<()>(0);
        let begun = Box::new(move || _ = wait.recv());
        errands
            .send(move || {
                begun();
                Vec::new()
            })
            .unwrap();
        let (done, order) = std::sync::mpsc::channel();
        let mut fits = 0;
        let refused = loop {
            let (done, number) = (done.clone(), fits);
            let errand = move || {
                done.send(number).unwrap();
                Vec::new()
            };
            match errands.send(errand) {
                Ok(()) => fits += 1,
                Err(reason) => break reason,
            }
        };
        assert!(fits + 1 >= WAITING_MAX, "{fits}");
        assert!(refused.contains("does not keep up"), "{refused}");
        drop((go, done));
        assert!(order.iter().eq(0..fits));
    }
}
