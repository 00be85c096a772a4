//! The page for administrators, in a real browser, served by a real Kamailio.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use support::browser::Browser;
use support::phone::Phone;
use support::shipped::{Setup, Shipped, apns_token, fcm_token};

/// Kept when the page has shown its numbers; broken when it says that it cannot.
const IS_SHOWN: &str = "new Promise((shown, lost) => {
    const look = () => {
        const state = document.getElementById('state');
        if (state && state.className === 'lost') lost(state.textContent);
        else if (state && state.textContent.includes('as of')) shown(state.textContent);
        else setTimeout(look, 20);
    };
    look();
})";

/// The text of every tile, and of every cell of the tables.
const NUMBERS: &str = "({
    tiles: Object.fromEntries([...document.querySelectorAll('.tile b')].map((tile) => [tile.id, tile.textContent])),
    tables: Object.fromEntries([...document.querySelectorAll('table')].map((table) => [table.id,
        [...table.rows].slice(1).map((row) => [...row.cells].map((cell) => cell.textContent))])),
    bars: document.querySelectorAll('#pushes rect').length,
    wakes: document.querySelectorAll('#wakes rect').length,
})";

/// How well all texts can be read: the least contrast (WCAG 2) and the smallest font in px; how far the page sticks out of the screen, and
/// the cell that does most of its card, in px.
const READABLE: &str = "(() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => part / 255)
            .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        const colour = getComputedStyle(node).backgroundColor;
        return colour === 'rgba(0, 0, 0, 0)' ? behind(node.parentElement) : colour;
    };
    let contrast = 21, font = 100;
    for (const node of document.querySelectorAll('h1, h2, span, b, th, td, .legend')) {
        if (!node.textContent.trim()) continue;
        const style = getComputedStyle(node);
        const [a, b] = [light(style.color), light(behind(node))].sort((x, y) => y - x);
        contrast = Math.min(contrast, (a + 0.05) / (b + 0.05));
        font = Math.min(font, parseFloat(style.fontSize));
    }
    const out = [...document.querySelectorAll('td')].map((cell) =>
        Math.round(cell.getBoundingClientRect().right - cell.closest('section').getBoundingClientRect().right));
    return { contrast, font, out: Math.max(...out), over: document.documentElement.scrollWidth - document.documentElement.clientWidth };
})()";

/// A call that wakes a phone, one to a dead token, and one that Firebase takes, twice: the call, and that nobody answered.
fn calls(shipped: &Shipped) {
    shipped.register_token("bob", &apns_token(1), "ios");
    shipped.register_token("dora", &apns_token(2), "ios");
    shipped.register_token("emil", &fcm_token(3), "android");
    shipped.simulator.behave(&apns_token(2), json!([{ "status": 410, "reason": "Unregistered" }]));
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    let ring = bob.expect_request("INVITE");
    bob.answer(&ring, 486);
    for user in ["dora", "emil"] {
        let invite = caller.invite(user);
        let refused = caller.expect_final(&invite);
        assert_eq!(refused.status(), 480, "{refused:?}");
        caller.ack_failure(&invite, &refused);
    }
    let refused = caller.expect_final(&invite);
    caller.ack_failure(&invite, &refused);
}

fn stats(shipped: &Shipped) -> Value {
    let answer = shipped.rest("GET", "/voip-push/stats.json", &Value::Null);
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

/// The sum of an outcome in the last hour.
fn in_hour(stats: &Value, outcomes: &[&str]) -> u64 {
    let minutes = stats["hour"]["minutes"].as_array().unwrap().iter();
    let of = |minute: &Value| -> u64 {
        let providers = ["apns", "fcm"].iter();
        providers
            .flat_map(|name| outcomes.iter().map(move |outcome| minute[name][outcome].as_u64().unwrap()))
            .sum()
    };
    minutes.map(of).sum()
}

#[test]
fn the_page_shows_what_the_api_says_and_reads_well() {
    let setup = Setup { config: vec![("wake_seconds = 15", "wake_seconds = 1")], ..Setup::default() };
    let shipped = Shipped::with("page", setup);
    calls(&shipped);
    let key = shipped.simulator.fact("api_key");
    let origin = format!("127.0.0.1:{}", shipped.http_port);
    let mut browser = Browser::start("page-browser");
    for (width, height, scheme) in
        [(390, 844, "light"), (390, 844, "dark"), (1200, 900, "light"), (1200, 900, "dark")]
    {
        browser.screen(width, height, scheme);
        browser.open(&format!("http://me:{key}@{origin}/voip-push/"));
        browser.evaluate(IS_SHOWN);
        let look = browser.evaluate(READABLE);
        assert!(look["contrast"].as_f64().unwrap() >= 4.5, "{width} {scheme}: {look}");
        assert!(look["font"].as_f64().unwrap() >= 12.0, "{width} {scheme}: {look}");
        assert_eq!(look["over"], 0, "{width} {scheme}: sideways scrolling: {look}");
        assert!(look["out"].as_i64().unwrap() <= 0, "{width} {scheme}: cut off: {look}");
        if let Ok(directory) = std::env::var("VOIP_PUSH_PICTURES") {
            let picture = BASE64.decode(browser.picture()).unwrap();
            std::fs::write(format!("{directory}/page-{width}-{scheme}.png"), picture).unwrap();
        }
    }
    let shown = browser.evaluate(NUMBERS);
    let stats = stats(&shipped);
    let accepted = in_hour(&stats, &["accepted"]);
    let failed =
        in_hour(&stats, &["token_gone", "rejected", "throttled", "unavailable", "credential_refused"]);
    assert_eq!((accepted, failed), (3, 1), "{stats}");
    let numbers = &stats["numbers"];
    for (tile, value) in [
        ("accepted", json!(accepted)),
        ("failed", json!(failed)),
        ("parked", numbers["parked"].clone()),
        ("queued", numbers["queued"].clone()),
        ("woken", numbers["woken_total"].clone()),
        ("timeouts", numbers["wake_timeout_total"].clone()),
    ] {
        assert_eq!(shown["tiles"][tile], value.to_string(), "{tile}: {shown}");
    }
    assert_eq!(shown["tiles"]["ratio"], "75.0 %");
    assert_eq!((&numbers["woken_total"], &numbers["wake_timeout_total"]), (&json!(1), &json!(1)));
    let failure = &shown["tables"]["failures"][0];
    assert_eq!(
        (&failure[1], &failure[2], &failure[3]),
        (&json!("apns"), &json!("token gone"), &stats["failures"][0]["reason"])
    );
    let keys: Vec<Value> = stats["keys"].as_array().unwrap().iter().map(|key| key["key"].clone()).collect();
    let rows = shown["tables"]["keys"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row[1].clone()).collect::<Vec<_>>(), keys);
    assert_eq!((keys.len(), &rows[0][2]), (2, &json!("0 days")), "{shown}");
    let topic = shipped.simulator.fact("topic");
    let rows = shown["tables"]["apps"].as_array().unwrap();
    let app = rows.iter().find(|row| row[1] == topic).unwrap();
    assert_eq!((&app[2], &app[3]), (&json!("1"), &json!("1")), "{shown}");
    assert_eq!(shown["wakes"], 1, "{shown}");
    assert!(shown["bars"].as_u64().unwrap() >= 2, "{shown}");

    assert_eq!(browser.complaints(), Vec::<&Value>::new());
    let strangers: Vec<&str> = browser
        .requests()
        .into_iter()
        .filter(|url| !url.contains(&origin) && !url.starts_with("data:"))
        .collect();
    assert_eq!(strangers, Vec::<&str>::new(), "the page asks others");
}

#[test]
fn without_a_key_there_is_no_page() {
    let shipped = Shipped::start("page-locked");
    let mut browser = Browser::start("page-locked-browser");
    browser.open(&format!("http://127.0.0.1:{}/voip-push/", shipped.http_port));
    let text = browser.evaluate("document.body.innerText");
    assert!(text.as_str().unwrap().contains("give a valid API key"), "{text}");
    assert_eq!(browser.evaluate("document.getElementById('tiles') === null"), true);
}
