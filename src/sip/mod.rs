//! SIP as text: what must be read from messages, and the few messages that we make.
//!
//! It refuses to open a socket, to read a clock and to know a SIP server.

pub mod uac;
