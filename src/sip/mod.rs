//! What a SIP message says about push (RFC 8599, and Linphone's ways before it): Contact headers taken apart into devices, and
//! push parameters taken out again before anybody else sees them.
//!
//! It refuses to store, to send or to know a SIP server: text in, meaning out, and no text makes it panic or run long.

mod contact;
mod escape;
mod feature_caps;
mod hide;
mod linphone;
mod push;

pub use contact::{Contact, Contacts, Uri, seconds};
pub use escape::unescape;
pub use feature_caps::{PnsReg, feature_caps_line, push_services_of};
pub use hide::{hidden, push_params_of_header, push_params_of_uri};
pub use push::{Ask, PushDevice};
