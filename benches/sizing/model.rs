//! The sizing of a service on paper and in a simulation: what the page docs/sizing.md shows.
//!
//! It refuses figures without a source: what was measured stands in [`measured`], what was assumed in [`assumed`].

pub mod assumed;
pub mod knee;
pub mod measured;
pub mod network;
pub mod paper;
pub mod random;
pub mod simulation;
pub mod table;

const BEGIN: &str = "<!-- what `make sizing` prints begins here -->\n";
const END: &str = "<!-- and ends here -->\n";

/// Every table of the page, as it stands there.
pub fn tables() -> String {
    let mut text = String::from("\n");
    table::figures(&mut text);
    table::paper(&mut text);
    table::intervals(&mut text);
    table::loads(&mut text);
    table::knees(&mut text);
    text
}

/// A page before its tables, the tables, and what follows; `None` where it has no place for them.
pub fn parts(page: &str) -> Option<(&str, &str, &str)> {
    let from = page.find(BEGIN)? + BEGIN.len();
    let to = from + page[from..].find(END)?;
    Some((&page[..from], &page[from..to], &page[to..]))
}
