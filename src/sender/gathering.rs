//! One call's results while they come in, and who wants to know.
//!
//! It refuses to tell twice: the report goes out when all results are in, or when the patience is over.

use crate::model::{PushResult, Report};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Told once: all results are in, or the patience is over.
pub(super) type Done = Box<dyn FnOnce(Report)>;

/// A call's results so far, and who wants to know.
pub(super) struct Gathering {
    report: RefCell<Report>,
    done: RefCell<Option<Done>>,
    /// Tells when the patience is over; ended with the last push, since it may be set for half a minute.
    timer: RefCell<Option<AbortHandle>>,
}

impl Gathering {
    pub(super) fn new(devices: usize, done: Done) -> Self {
        // Room for the results is made when the first is there, and not while all are awaited.
        let report = Report { devices, results: Vec::new() };
        Gathering { report: RefCell::new(report), done: RefCell::new(Some(done)), timer: RefCell::default() }
    }

    pub(super) fn add(&self, result: PushResult) {
        let mut report = self.report.borrow_mut();
        let Report { devices, results } = &mut *report;
        results.reserve_exact(*devices - results.len());
        results.push(result);
        drop(report);
        self.tell_if_complete();
    }

    pub(super) fn tell_if_complete(&self) {
        let report = self.report.borrow();
        if report.results.len() == report.devices {
            drop(report);
            self.tell();
        }
    }

    /// The end of a push that this call waits for alone; tells earlier where the patience is over.
    pub(super) async fn wait_for<T>(
        &self,
        mut push: Pin<&mut impl Future<Output = T>>,
        patience: Option<Duration>,
    ) -> T {
        let mut timer = pin!(patience.map(sleep));
        poll_fn(|context| {
            let result = push.as_mut().poll(context);
            if result.is_pending()
                && let Some(running) = timer.as_mut().as_pin_mut()
                && running.poll(context).is_ready()
            {
                timer.set(None);
                self.tell();
            }
            result
        })
        .await
    }

    pub(super) fn tell_after(self: &Rc<Self>, patience: Duration) {
        let gathering = Rc::clone(self);
        let timer = tokio::task::spawn_local(async move {
            sleep(patience).await;
            gathering.timer.take();
            gathering.tell();
        });
        self.timer.replace(Some(timer.abort_handle()));
    }

    pub(super) fn is_told(&self) -> bool {
        self.done.borrow().is_none()
    }

    fn tell(&self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        if let Some(done) = self.done.take() {
            done(self.report.take());
        }
    }
}
