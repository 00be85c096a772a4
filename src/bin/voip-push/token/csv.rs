//! CSV (RFC 4180) whose records are one line each, since no field of ours may hold a line end: so every number of a line is right.
//!
//! It refuses columns that it does not know, and quotes that do not end.

use std::io::Write;

use super::record::{COLUMNS, Record};

/// Which column stands where.
pub struct Header(Vec<usize>);

impl Header {
    /// From the first line.
    pub fn parse(line: &str) -> Result<Header, String> {
        let mut places = Vec::new();
        // Programs for spreadsheets put a byte order mark first.
        for name in fields(line.trim_start_matches('\u{feff}'))? {
            let place = COLUMNS.iter().position(|known| *known == name);
            places.push(place.ok_or_else(|| unknown(&name))?);
        }
        let is_missing = |place: &usize| !places.contains(place);
        match (0..3).find(is_missing) {
            Some(place) => Err(format!("the first line names the columns; {} is missing", COLUMNS[place])),
            None => Ok(Header(places)),
        }
    }

    /// A record from a later line.
    pub fn record(&self, line: &str) -> Result<Record, String> {
        let fields = fields(line)?;
        if fields.len() != self.0.len() {
            return Err(format!("has {} columns, the first line has {}", fields.len(), self.0.len()));
        }
        let mut record = Record::default();
        for (place, text) in self.0.iter().zip(fields) {
            record.set(*place, text)?;
        }
        Ok(record)
    }
}

fn unknown(name: &str) -> String {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
    format!("the first line names the columns; {shown:?} is none of {}", COLUMNS.join(", "))
}

/// The fields of a line, without the spaces around them.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut rest = Some(line);
    while let Some(text) = rest {
        let (field, after) = match text.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => match text.split_once(',') {
                Some((field, after)) => (field.trim().to_owned(), Some(after)),
                None => (text.trim().to_owned(), None),
            },
        };
        found.push(field);
        rest = after;
    }
    Ok(found)
}

/// What stands between quotes, where two are one, and what follows the comma after them.
fn unquoted(text: &str) -> Result<(String, Option<&str>), String> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err("has a quote without its end".to_owned());
        };
        field.push_str(before);
        if let Some(more) = after.strip_prefix('"') {
            field.push('"');
            rest = more;
            continue;
        }
        let after = after.trim_start();
        return match after.strip_prefix(',') {
            Some(next) => Ok((field, Some(next))),
            None if after.is_empty() => Ok((field, None)),
            None => Err("has text behind a quote's end".to_owned()),
        };
    }
}

/// Writes the line that names the columns.
pub fn write_header(out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}", COLUMNS.join(","))
}

/// Writes a record as a line.
pub fn write(out: &mut impl Write, record: &Record) -> std::io::Result<()> {
    for place in 0..COLUMNS.len() {
        let text = record.get(place);
        let comma = if place == 0 { "" } else { "," };
        if text.contains([',', '"']) {
            write!(out, "{comma}\"{}\"", text.replace('"', "\"\""))?;
        } else {
            write!(out, "{comma}{text}")?;
        }
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_told_apart() {
        let rows: [(&str, &[&str]); 6] = [
            ("a,b", &["a", "b"]),
            ("", &[""]),
            (" a , ", &["a", ""]),
            ("\"a,b\",c", &["a,b", "c"]),
            ("\"a \"\"b\"\"\" ,", &["a \"b\"", ""]),
            ("a\"b,c", &["a\"b", "c"]),
        ];
        for (line, expected) in rows {
            assert_eq!(fields(line).unwrap(), expected, "{line}");
        }
        assert!(fields("\"a").is_err() && fields("\"a\"b,c").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(user in "[^\\p{C}\\s]{1,20}", token in "[a-z,\"]{0,20}", time in any::<Option<i64>>()) {
            let record = Record { user, token, registered_at_ms: time, ..Record::default() };
            let mut line = Vec::new();
            write(&mut line, &record).unwrap();
            let line = String::from_utf8(line).unwrap();
            let header = Header::parse(&COLUMNS.join(",")).unwrap();
            let read = header.record(line.trim_end_matches('\n')).unwrap();
            prop_assert_eq!((read.user, read.token, read.registered_at_ms), (record.user, record.token, record.registered_at_ms));
        }
    }
}
