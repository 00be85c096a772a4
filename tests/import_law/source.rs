//! Rust source as far as the law needs it: words without comments and strings, and the paths that they form.
//!
//! It refuses to be a compiler: macros are read as they stand, and what they make is not seen.

/// A word or a sign, and the line that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
    /// True inside `mod tests { … }`, which is not shipped.
    pub in_tests: bool,
}

/// A path from the root of the crate, such as `["store", "TokenStore"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub path: Vec<String>,
    pub line: usize,
    pub in_tests: bool,
}

/// The words and signs of a file, without comments, strings, characters and lifetimes.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let (mut found, mut rest, mut line) = (Vec::new(), source, 1);
    while let Some(first) = rest.chars().next() {
        let (len, is_code) = match blank_len(rest) {
            Some(len) => (len, false),
            None if is_word(first) => (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), true),
            None if rest.starts_with("::") => (2, true),
            None => (first.len_utf8(), !first.is_whitespace()),
        };
        if is_code {
            found.push(Token { text: &rest[..len], line, in_tests: false });
        }
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    mark_tests(&mut found);
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of what is no code at the start of the text: a comment, a string, a character, a lifetime.
fn blank_len(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment_len(text));
    }
    let prefix = text.find(|c| !"bcr".contains(c)).filter(|len| *len <= 2)?;
    let body = &text[prefix..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    let raw = text[..prefix].contains('r') && body[hashes..].starts_with('"');
    match (raw, body.as_bytes().first()?) {
        (true, _) => {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = prefix + hashes + 1;
            Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()))
        }
        (false, b'"') => Some(prefix + quoted_len(body, '"')),
        (false, b'\'') if is_character(body) => Some(prefix + quoted_len(body, '\'')),
        (false, b'\'') if prefix == 0 => Some(1 + body[1..].find(|c| !is_word(c)).unwrap_or(body.len() - 1)),
        _ => None,
    }
}

fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let step = if rest.starts_with("/*") || rest.starts_with("*/") { 2 } else { 1 };
        depth += i32::from(rest.starts_with("/*")) - i32::from(rest.starts_with("*/"));
        at += if step == 2 { 2 } else { rest.chars().next().map_or(1, char::len_utf8) };
        if depth == 0 {
            break;
        }
    }
    at
}

/// `'a'` and `'\n'`, but not the lifetime `'a`.
fn is_character(text: &str) -> bool {
    let mut next = text.chars().skip(1);
    next.next() == Some('\\') || next.next() == Some('\'')
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

fn mark_tests(tokens: &mut [Token<'_>]) {
    let (mut depth, mut tests_from) = (0, None);
    for at in 0..tokens.len() {
        let opens = |offset: usize, text| at >= offset && tokens[at - offset].text == text;
        match tokens[at].text {
            "{" => {
                depth += 1;
                if tests_from.is_none() && opens(1, "tests") && opens(2, "mod") {
                    tests_from = Some(depth);
                }
            }
            "}" => {
                depth -= 1;
                tests_from = tests_from.filter(|from| depth >= *from);
            }
            _ => {}
        }
        tokens[at].in_tests = tests_from.is_some();
    }
}

/// Every path in the tokens that begins at the root of the library (`crate::`, or `voip_push::` from outside) or climbs
/// (`super::`). `module` is where the file stands, and `root` what `crate` means there.
pub fn references(tokens: &[Token<'_>], module: &[&str], root: &[&str]) -> Vec<Reference> {
    let (mut found, mut inline, mut depth) = (Vec::new(), Vec::new(), 0);
    for at in 0..tokens.len() {
        let text = |offset: usize| tokens.get(at + offset).map_or("", |token| token.text);
        match text(0) {
            "mod" if text(2) == "{" => inline.push((depth, text(1))),
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.retain(|(outside, _)| *outside < depth);
            }
            "crate" | "voip_push" | "super"
                if text(1) == "::" && (at == 0 || tokens[at - 1].text != "::") =>
            {
                let inline = inline.iter().map(|(_, name)| *name);
                let from: Vec<&str> = match text(0) {
                    "super" => module.iter().copied().chain(inline).collect(),
                    "crate" => root.to_vec(),
                    _ => Vec::new(),
                };
                walk(tokens, at, from.into_iter().map(str::to_owned).collect(), &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Follows one path, and each branch of a group, to its end; returns where it stopped.
fn walk(tokens: &[Token<'_>], mut at: usize, mut path: Vec<String>, found: &mut Vec<Reference>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let start = at.min(tokens.len() - 1);
    loop {
        match text(at) {
            "crate" | "voip_push" | "self" => {}
            "super" => drop(path.pop()),
            "{" => return walk_group(tokens, at + 1, &path, found),
            word if word.starts_with(is_word) => path.push(word.to_owned()),
            _ => break,
        }
        if text(at + 1) != "::" {
            at += 1;
            break;
        }
        at += 2;
    }
    found.push(Reference { path, line: tokens[start].line, in_tests: tokens[start].in_tests });
    at
}

fn walk_group(tokens: &[Token<'_>], mut at: usize, path: &[String], found: &mut Vec<Reference>) -> usize {
    while at < tokens.len() && tokens[at].text != "}" {
        if tokens[at].text.starts_with(is_word) && tokens[at - 1].text != "as" {
            at = walk(tokens, at, path.to_vec(), found);
        } else {
            at += 1;
        }
    }
    at + 1
}
