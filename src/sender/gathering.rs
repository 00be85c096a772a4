//! One call's results while they come in, and who wants to know.
//!
//! It refuses to tell twice: the report goes out when all results are in, or when the patience is over.

use super::patience::Due;
use crate::model::{PushResult, Report};
use std::cell::Cell;
use std::num::NonZeroU64;

/// Told once: all results are in, or the patience is over.
pub(super) type Done = Box<dyn FnOnce(Report)>;

/// A call's results so far, and who wants to know.
pub(super) struct Gathering {
    report: Cell<Report>,
    done: Cell<Option<Done>>,
    /// When the patience is over.
    due: Cell<Option<NonZeroU64>>,
}

impl Gathering {
    pub(super) fn new(devices: usize, done: Done) -> Self {
        // Room for the results is made when the first is there, and not while all are awaited.
        let report = Report { devices, results: Vec::new() };
        Gathering { report: Cell::new(report), done: Cell::new(Some(done)), due: Cell::default() }
    }

    pub(super) fn add(&self, result: PushResult) {
        if self.is_told() {
            return; // It comes too late.
        }
        let mut report = self.report.take();
        report.results.reserve_exact(report.devices - report.results.len());
        report.results.push(result);
        self.report.set(report);
        self.tell_if_complete();
    }

    pub(super) fn tell_if_complete(&self) {
        let report = self.report.take();
        let is_complete = report.results.len() == report.devices;
        self.report.set(report);
        if is_complete {
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
        let done = self.done.take();
        let is_told = done.is_none();
        self.done.set(done);
        is_told
    }

    pub(super) fn tell(&self) {
        if let Some(done) = self.done.take() {
            done(self.report.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Outcome, Provider};
    use std::rc::Rc;

    fn result() -> PushResult {
        PushResult { provider: Provider::Apns, outcome: Outcome::Accepted, attempts: 1 }
    }

    fn gathering(devices: usize) -> (Gathering, Rc<Cell<Option<usize>>>) {
        let told: Rc<Cell<Option<usize>>> = Rc::default();
        let heard = Rc::clone(&told);
        (Gathering::new(devices, Box::new(move |report| heard.set(Some(report.accepted())))), told)
    }

    #[test]
    fn the_report_goes_out_with_the_last_result() {
        let (two, told) = gathering(2);
        two.add(result());
        assert_eq!(told.get(), None);
        two.add(result());
        assert_eq!((told.get(), two.is_told()), (Some(2), true));
    }

    #[test]
    fn results_that_come_after_the_patience_are_nobodys() {
        let (three, told) = gathering(3);
        three.add(result());
        three.tell();
        three.add(result());
        three.add(result());
        three.tell();
        assert_eq!(told.get(), Some(1));
    }
}
