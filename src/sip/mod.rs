//! SIP as text: what messages say about push (RFC 8599, and Linphone's ways before it), the taking of push parameters out of what
//! others get to see, and the few messages that we make ourselves.
//!
//! It refuses to open a socket, to read a clock and to know a SIP server; no text makes it panic or run long.

mod contact;
mod escape;
mod feature_caps;
mod hide;
mod linphone;
mod push;
pub mod uac;

pub use contact::{Contact, Contacts, Uri, seconds};
pub use escape::unescape;
pub use feature_caps::{PnsReg, feature_caps_line, push_services_of};
pub use hide::{hidden, push_params_of_header, push_params_of_uri};
pub use push::{Ask, PushDevice};
