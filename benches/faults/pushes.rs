//! What Apple and Google have brought to phones, as the simulator's journal has it.
//!
//! It refuses to tell a phone of a push that is not for a call.

use super::phones::Woken;
use super::support::simulator::Control;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

/// A push of a call to a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pushed {
    /// The call.
    pub call_id: String,
    /// The device.
    pub token: String,
}

/// Passes every push on until it is over, and gives all of them.
pub fn follow(simulator: &Control, phones: &Sender<Woken>, is_over: &AtomicBool) -> Vec<Pushed> {
    let (mut after, mut all) = (0, Vec::new());
    while !is_over.load(Ordering::SeqCst) {
        let told = simulator.get(&format!("/pushes?after={after}&wait_ms=500"));
        for push in told["pushes"].as_array().into_iter().flatten() {
            after = after.max(push["seq"].as_u64().unwrap_or(after));
            let Some((woken, pushed)) = of_call(push) else { continue };
            all.push(pushed);
            // Phones that have gone are woken no more.
            let _ = phones.send(woken);
        }
    }
    all
}

/// What tells that a call is over (FCM) has no caller.
fn of_call(push: &Value) -> Option<(Woken, Pushed)> {
    let payload = &push["payload"];
    let data = match payload["message"]["data"].is_object() {
        true => &payload["message"]["data"],
        false => payload,
    };
    let text = |name: &str| data[name].as_str().map(str::to_owned);
    let (user, call_id, _) = (text("sip_user")?, text("call_id")?, text("caller")?);
    let token = push["token"].as_str()?.to_owned();
    Some((Woken { user, call_id: call_id.clone() }, Pushed { call_id, token }))
}
