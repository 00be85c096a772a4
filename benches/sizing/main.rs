//! The tables of docs/sizing.md: `make sizing` prints them, `make sizing WRITE=1` puts them into the page.
//!
//! It refuses to measure: it counts and simulates with figures that `make bench` has measured.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is how a bench fails and reports")]

#[path = "model.rs"]
mod model;

use std::fs;

fn main() {
    let tables = model::tables();
    print!("{tables}");
    if std::env::var("WRITE").is_ok_and(|value| !matches!(&*value, "" | "0")) {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sizing.md");
        let text = fs::read_to_string(page).unwrap();
        let (before, _, after) =
            model::parts(&text).expect("the page has the lines between which the tables stand");
        fs::write(page, format!("{before}{tables}{after}")).unwrap();
    }
}
