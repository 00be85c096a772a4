//! `event_route[voip-push:result]`, which the sender's process runs when a queued push has its result.
//!
//! It refuses to leave a trace in what Kamailio runs next: the route's type is put back.

use super::host::SenderHost;
use crate::host::kamailio::layout::EVENT_ROUTE;
use crate::host::kamailio::symbols::{Forking, forking};
use crate::host::last::{self, Last};
use std::sync::OnceLock;

impl SenderHost {
    /// Runs `event_route[voip-push:result]`, which sees `last`.
    pub(super) fn run_event(&self, last: Last) {
        let Some(at) = event_route(self.forking) else { return };
        last::set(last);
        let Forking { event_rt, route_type, faked_msg_next, run_top_route, ksr_msg_env_reset, .. } =
            self.forking;
        // SAFETY: the process' main thread, in the sender's loop; the route exists and never changes. The route's type is put back
        // as Kamailio's own modules do it.
        unsafe {
            let before = route_type.read();
            route_type.write(EVENT_ROUTE);
            let actions = *(**event_rt).actions.add(at);
            run_top_route(actions, faked_msg_next(), std::ptr::null_mut());
            ksr_msg_env_reset();
            route_type.write(before);
        }
    }
}

/// Whether the script wants to be told results of `queue_voip_push`. Asked once: routes do not change after the configuration was
/// read, which the first call of a script function comes after.
pub fn has_event_route() -> bool {
    static HAS_IT: OnceLock<bool> = OnceLock::new();
    *HAS_IT.get_or_init(|| forking().is_some_and(|forking| event_route(forking).is_some()))
}

fn event_route(forking: &Forking) -> Option<usize> {
    // SAFETY: Kamailio's table of routes, which no longer changes once the configuration was read, and a C string.
    unsafe {
        let at = (forking.route_lookup)(forking.event_rt, c"voip-push:result".as_ptr());
        let at = usize::try_from(at).ok()?;
        (!(*(*forking.event_rt).actions.add(at)).is_null()).then_some(at)
    }
}
