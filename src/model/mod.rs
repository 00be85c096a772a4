//! The plain nouns that every room speaks: users, devices, tokens, calls, pushes and outcomes.
//!
//! It refuses to do I/O, to read a clock and to know any provider's wire format.

mod call;
mod caller;
mod date;
mod device;
mod happening;
mod kind;
mod media;
mod name_uuid;
mod outcome;
mod scope;
mod text;
mod token;
mod user;

pub use call::{Call, MAX_CALL_ID_LEN, call_uuid};
pub use caller::{Caller, MAX_CALLER_LEN, MAX_HOST_LEN};
pub use date::{http_date, parse_http_date, utc};
pub use device::{Alert, Device, Environment, Extra, NewDevice, Platform, Provider, parse_app};
pub use happening::{Event, Happening};
pub use kind::{Ended, Kind, MISSED_KEPT_S, Show};
pub use media::Media;
pub use outcome::{Outcome, Push, PushResult, Report};
pub use scope::Scope;
pub use text::{Invalid, clean_line, cut_to, folded};
pub use token::Token;
pub use user::{MAX_USER_LEN, User};
