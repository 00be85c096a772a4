//! What was measured, each figure with its unit and where it comes from.
//!
//! It refuses estimates: those are in [`super::assumed`].

/// A figure and its source.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// What it is, with its unit.
    pub what: &'static str,
    /// How much.
    pub value: f64,
    /// Where it was measured.
    pub source: &'static str,
}

const fn figure(what: &'static str, value: f64, source: &'static str) -> Figure {
    Figure { what, value, source }
}

/// The figures of the engine were taken on 23 November 2026, while the machine did other work; of many short runs the least counts.
/// Above what the README has.
const FULL_RUN: &str = "the full run of 22 November; the README has a later one, which took less";
const ENGINE: &str = "README, \"A store on an engine\"";

/// An INVITE, a push, a 480: all of the server's processes.
pub const CALL_US: Figure =
    figure("a call with a push, CPU µs of all processes of the SIP server", 62.0, FULL_RUN);
/// The sender's part of it.
pub const SENDER_US: Figure = figure("a push in the sender, CPU µs, at 32 in flight", 14.2, FULL_RUN);
/// What a push under way takes there.
pub const PUSH_BYTES: Figure = figure("a push under way, bytes in the sender", 2_000.0, "README, \"Memory\"");
/// CPU of the engine's process.
pub const ENGINE_LOOKUP_US: Figure = figure("a lookup, CPU µs of the engine", 13.1, ENGINE);
/// All that a registration asks of it.
pub const ENGINE_REGISTER_US: Figure = figure("a registration, CPU µs of the engine", 57.9, ENGINE);
/// SET NX.
pub const ENGINE_CLAIM_US: Figure =
    figure("asking who pushes for a call, CPU µs of the engine", 10.6, ENGINE);
/// XADD.
pub const ENGINE_WRITE_US: Figure = figure("a word written to the stream, CPU µs of the engine", 9.6, ENGINE);
/// XREAD of one entry that has just come.
pub const ENGINE_READ_US: Figure =
    figure("a word read by one SIP server, CPU µs of the engine", 16.9, ENGINE);
/// One entry more in the same answer.
pub const ENGINE_READ_MORE_US: Figure =
    figure("each further word in the same answer, CPU µs of the engine", 0.7, ENGINE);
/// The node's side of it.
pub const NODE_READ_US: Figure = figure("a word read, CPU µs of the SIP server that reads it", 16.0, ENGINE);
/// Index included.
pub const TOKEN_BYTES: Figure = figure("a token in the engine, bytes, index included", 584.0, ENGINE);

/// All of them, in the order of the page.
pub const ALL: [Figure; 11] = [
    CALL_US,
    SENDER_US,
    PUSH_BYTES,
    ENGINE_LOOKUP_US,
    ENGINE_REGISTER_US,
    ENGINE_CLAIM_US,
    ENGINE_WRITE_US,
    ENGINE_READ_US,
    ENGINE_READ_MORE_US,
    NODE_READ_US,
    TOKEN_BYTES,
];
