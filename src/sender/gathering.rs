//! One call's results while they come in, and who wants to know.
//!
//! It refuses to tell twice: the report goes out when all results are in, or when the patience is over.

use super::patience::Due;
use crate::model::{PushResult, Report};
use std::cell::{Cell, RefCell};
use std::num::NonZeroU64;

/// Told once: all results are in, or the patience is over.
pub(super) type Done = Box<dyn FnOnce(Report)>;

/// A call's results so far, and who wants to know.
pub(super) struct Gathering {
    report: RefCell<Report>,
    done: RefCell<Option<Done>>,
    /// When the patience is over.
    due: Cell<Option<NonZeroU64>>,
}

impl Gathering {
    pub(super) fn new(devices: usize, done: Done) -> Self {
        // Room for the results is made when the first is there, and not while all are awaited.
        let report = Report { devices, results: Vec::new() };
        Gathering { report: RefCell::new(report), done: RefCell::new(Some(done)), due: Cell::default() }
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

    pub(super) fn set_due(&self, due: Due) {
        self.due.set(NonZeroU64::new(due));
    }

    pub(super) fn take_due(&self) -> Option<Due> {
        self.due.take().map(NonZeroU64::get)
    }

    pub(super) fn is_told(&self) -> bool {
        self.done.borrow().is_none()
    }

    pub(super) fn tell(&self) {
        if let Some(done) = self.done.take() {
            done(self.report.take());
        }
    }
}
