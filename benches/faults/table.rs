//! The table: what became of the calls, by the part of the run that they were made in, and what must be none.
//!
//! It refuses to pass a run in which nothing was answered or a fault did not happen.

use super::callers::Call;
use super::nodes::Nodes;
use super::phones::{Ring, Seen};
use super::pushes::Pushed;
use super::tokens::{Found, Registered};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

/// A part of the run, which begins with a fault or ends before one.
#[derive(Debug, Clone)]
pub struct Part {
    /// Such as "a master was killed".
    pub name: String,
    /// In seconds since 1970.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// What shows that the fault happened, or why it did not.
    pub happened: Result<String, String>,
}

impl Part {
    /// The first one, without a fault.
    pub fn before(begin_s: f64) -> Part {
        let happened = Ok(String::new());
        Part { name: "before".to_owned(), from_s: begin_s, to_s: begin_s, happened }
    }
}

/// All that the run has brought.
pub struct Run {
    /// In their order, without gaps.
    pub parts: Vec<Part>,
    /// Calls, in their order.
    pub calls: Vec<Call>,
    /// At the phones.
    pub seen: Seen,
    /// At the push services.
    pub pushed: Vec<Pushed>,
    /// The registrations of tokens.
    pub registered: Registered,
    /// What became of them.
    pub found: Found,
}

/// What happened to calls.
#[derive(Debug, Default)]
struct Row {
    offered: usize,
    answered: usize,
    refused: BTreeMap<u16, usize>,
    lost: usize,
    gap_s: f64,
    gap_of_a_node_s: f64,
}

impl Run {
    fn rows(&self, nodes: &Nodes) -> Vec<(String, Row)> {
        let of_part = |part: &Part| {
            let is_in = |call: &&Call| (part.from_s..part.to_s).contains(&call.at_s);
            let mut row = Row::of(self.calls.iter().filter(is_in));
            row.gap_s = self.gap(part, |_| true);
            let of_node = |node: usize| self.gap(part, move |call| call.node == node);
            row.gap_of_a_node_s = (0..nodes.0.len()).map(of_node).fold(0.0, f64::max);
            (part.name.clone(), row)
        };
        let mut rows: Vec<_> = self.parts.iter().map(of_part).collect();
        let mut all = Row::of(self.calls.iter());
        all.gap_s = rows.iter().map(|(_, row)| row.gap_s).fold(0.0, f64::max);
        all.gap_of_a_node_s = rows.iter().map(|(_, row)| row.gap_of_a_node_s).fold(0.0, f64::max);
        rows.push(("all".to_owned(), all));
        rows
    }

    /// The longest time within a part in which no call was answered.
    fn gap(&self, part: &Part, counts: impl Fn(&Call) -> bool) -> f64 {
        let answered = self.calls.iter().filter(|call| counts(call)).filter_map(|call| match call.end {
            Some((200, at_s)) if (part.from_s..part.to_s).contains(&at_s) => Some(at_s),
            _ => None,
        });
        let mut times: Vec<f64> = [part.from_s, part.to_s].into_iter().chain(answered).collect();
        times.sort_by(f64::total_cmp);
        times.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max)
    }

    /// Phones that got two branches of one call: user, Call-ID, and for each branch its time, topmost Via and where the phone was.
    fn double_rings(&self) -> Vec<String> {
        let mut branches: BTreeMap<(&str, &str), Vec<&Ring>> = BTreeMap::new();
        for ring in &self.seen.rings {
            branches.entry((&ring.user, &ring.call_id)).or_default().push(ring);
        }
        branches.retain(|_, rings| rings.windows(2).any(|two| two[0].via != two[1].via));
        let begin_s = self.parts.first().map_or(0.0, |part| part.from_s);
        let told = |ring: &&Ring| {
            let via = ring.via.split(';').next().unwrap_or_default();
            format!("{:.2} s {via} {:?}", ring.at_s - begin_s, ring.home)
        };
        let doubled = branches.iter().map(|((user, call_id), rings)| {
            format!("{user}, {call_id}: {}", rings.iter().map(told).collect::<Vec<_>>().join(", "))
        });
        doubled.collect()
    }

    fn pushed_twice(&self) -> usize {
        let mut times: HashMap<&Pushed, usize> = HashMap::new();
        self.pushed.iter().for_each(|pushed| *times.entry(pushed).or_default() += 1);
        times.values().filter(|times| **times > 1).count()
    }

    /// Prints the table and gives what does not hold.
    pub fn report(&self, nodes: &Nodes) -> (String, Vec<String>) {
        let rows = self.rows(nodes);
        let statuses: BTreeSet<u16> = rows.iter().flat_map(|(_, row)| row.refused.keys().copied()).collect();
        let mut text = String::from("| | calls | answered |");
        statuses.iter().for_each(|status| write!(text, " {status} |").expect("text grows"));
        text.push_str(" lost | longest gap, s | at one node, s |\n|---|---|---|");
        text.push_str(&"---|".repeat(statuses.len() + 3));
        for (name, row) in &rows {
            write!(text, "\n| {name} | {} | {} |", row.offered, row.answered).expect("text grows");
            for status in &statuses {
                write!(text, " {} |", row.refused.get(status).copied().unwrap_or(0)).expect("text grows");
            }
            write!(text, " {} | {:.1} | {:.1} |", row.lost, row.gap_s, row.gap_of_a_node_s)
                .expect("text grows");
        }
        for part in &self.parts {
            match &part.happened {
                Ok(how) if how.is_empty() => {}
                Ok(how) => write!(text, "\n\n{}: {how}.", part.name).expect("text grows"),
                Err(why) => write!(text, "\n\n{}: IT DID NOT: {why}.", part.name).expect("text grows"),
            }
        }
        let doubled = self.double_rings();
        text.push_str(&self.counts(doubled.len()));
        (text, self.broken(&rows, &doubled))
    }

    fn counts(&self, doubled: usize) -> String {
        let Run { seen, registered, found, .. } = self;
        let refused: Vec<String> =
            registered.refused.iter().map(|(status, times)| format!("{times} with {status}")).collect();
        let rows = [
            ("pushes of calls", self.pushed.len().to_string()),
            ("pushed twice for one call and device", self.pushed_twice().to_string()),
            ("phones that rang", seen.rings.len().to_string()),
            ("double rings", doubled.to_string()),
            ("phones' registrations answered", seen.registered.to_string()),
            ("turned to the other node", seen.turned.to_string()),
            ("answered by neither node", seen.unregistered.to_string()),
            ("token registrations accepted", registered.accepted.to_string()),
            ("refused", if refused.is_empty() { "0".to_owned() } else { refused.join(", ") }),
            ("without an answer", registered.unanswered.to_string()),
            ("longest time without one accepted, s", format!("{:.1}", registered.longest_gap_s)),
            ("users looked up at each node at the end", found.looked_up.to_string()),
            ("tokens lost", found.lost.len().to_string()),
        ];
        let mut text = String::from("\n\n| | |\n|---|---|");
        rows.iter().for_each(|(name, value)| write!(text, "\n| {name} | {value} |").expect("text grows"));
        text
    }

    fn broken(&self, rows: &[(String, Row)], doubled: &[String]) -> Vec<String> {
        let mut broken = Vec::new();
        let few = |list: &[String]| list.iter().take(12).cloned().collect::<Vec<_>>().join("\n  ");
        if !self.found.lost.is_empty() {
            broken.push(format!("{} tokens lost: {}", self.found.lost.len(), few(&self.found.lost)));
        }
        if !doubled.is_empty() {
            broken.push(format!("{} double rings: {}", doubled.len(), few(doubled)));
        }
        for part in &self.parts {
            broken.extend(part.happened.as_ref().err().map(|why| format!("{}: {why}", part.name)));
        }
        // the last one is all of them together
        for (name, row) in rows[..rows.len() - 1].iter().filter(|(_, row)| row.answered == 0) {
            broken.push(format!("{name}: of {} calls none was answered", row.offered));
        }
        broken
    }
}

impl Row {
    fn of<'a>(calls: impl Iterator<Item = &'a Call>) -> Row {
        let mut row = Row::default();
        for call in calls {
            row.offered += 1;
            match call.end {
                Some((200..300, _)) => row.answered += 1,
                Some((status, _)) => *row.refused.entry(status).or_default() += 1,
                None => row.lost += 1,
            }
        }
        row
    }
}
