//! The scripts, each one step of the engine that nothing comes between.
//!
//! It refuses to hold more than their texts: what they do and answer stands in them.

use crate::engine::Script;

/// A script that reads devices.
macro_rules! with_record {
    ($file:literal) => {
        Script::new(concat!(include_str!("scripts/record.lua"), include_str!($file)))
    };
}

pub(super) static REGISTER: Script = with_record!("scripts/register.lua");
pub(super) static DELETE: Script = with_record!("scripts/delete.lua");
pub(super) static RETIRE: Script = with_record!("scripts/retire.lua");
pub(super) static ALERT: Script = with_record!("scripts/alert.lua");
pub(super) static PROVE: Script = with_record!("scripts/prove.lua");
pub(super) static EVICT: Script = with_record!("scripts/evict.lua");
pub(super) static OWN: Script = Script::new(include_str!("scripts/own.lua"));
pub(super) static DISOWN: Script = Script::new(include_str!("scripts/disown.lua"));
pub(super) static SETTLE: Script = Script::new(include_str!("scripts/settle.lua"));
pub(super) static PLAN: Script = Script::new(include_str!("scripts/plan.lua"));
pub(super) static TAKE: Script = Script::new(include_str!("scripts/take.lua"));
