//! What Flexisip sends to apps made with the Linphone SDK, key for key.
//!
//! It refuses one thing that Flexisip does: its `uuid` is the device's `+sip.instance`, which the SDK does not read; here it is
//! the call's, as in every profile.
//!
//! Sources: Flexisip, `src/pushnotification/apple/apple-request.cc` (PushType VoIP) and
//! `firebase-v1/firebase-v1-request.cc`; liblinphone, `ios-app-delegate.mm` (reads `aps.call-id` and hands the whole payload to
//! the app) and `FirebaseMessaging.java` (reads `call-id`).

use super::values::Values;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, Serializer};

/// The app's text for "incoming call" (Linphone's `pn-call-str`).
const LOC_KEY: &str = "IC_MSG";
/// The app's text for "new message" (Linphone's `pn-msg-str`).
const MESSAGE_LOC_KEY: &str = "IM_MSG";

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ForApns<'a> {
    aps: Aps<'a>,
    from_uri: FromUri<'a>,
    display_name: &'a str,
    #[serde(rename = "pn_ttl")]
    pn_ttl: u64,
    #[serde(rename = "customPayload")]
    custom_payload: super::Aps,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Aps<'a> {
    sound: &'static str,
    loc_key: &'static str,
    loc_args: [Name<'a>; 1],
    call_id: &'a str,
    uuid: &'a str,
    send_time: Utc,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Data<'a> {
    uuid: &'a str,
    from_uri: FromUri<'a>,
    display_name: &'a str,
    call_id: &'a str,
    sip_from: Name<'a>,
    loc_key: &'static str,
    loc_args: Name<'a>,
    send_time: Utc,
    custom_payload: &'static str,
}

pub(super) fn apns<'a>(values: &'a Values<'_>) -> ForApns<'a> {
    ForApns {
        aps: Aps {
            sound: "",
            loc_key: LOC_KEY,
            loc_args: [Name::of(values)],
            call_id: &values.call.call_id,
            uuid: values.id(),
            send_time: Utc(values.sent_at_s),
        },
        from_uri: FromUri::of(values),
        display_name: display_name(values),
        pn_ttl: values.ring.as_secs(),
        custom_payload: super::Aps {},
    }
}

pub(super) fn data<'a>(values: &'a Values<'_>) -> Data<'a> {
    data_as(values, LOC_KEY)
}

/// The same for a message that waits.
pub(super) fn message_data<'a>(values: &'a Values<'_>) -> Data<'a> {
    data_as(values, MESSAGE_LOC_KEY)
}

fn data_as<'a>(values: &'a Values<'_>, loc_key: &'static str) -> Data<'a> {
    Data {
        uuid: values.id(),
        from_uri: FromUri::of(values),
        display_name: display_name(values),
        call_id: &values.call.call_id,
        sip_from: Name::of(values),
        loc_key,
        loc_args: Name::of(values),
        send_time: Utc(values.sent_at_s),
        custom_payload: "{}",
    }
}

/// A message that waits, for the token that takes alerts.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Message<'a> {
    aps: super::chat::Aps<'a>,
    from_uri: FromUri<'a>,
    display_name: &'a str,
    call_id: &'a str,
    uuid: &'a str,
    #[serde(rename = "pn_ttl")]
    pn_ttl: u64,
}

pub(super) fn message<'a>(values: &'a Values<'_>, aps: super::chat::Aps<'a>) -> Message<'a> {
    Message {
        aps,
        from_uri: FromUri::of(values),
        display_name: display_name(values),
        call_id: &values.call.call_id,
        uuid: values.id(),
        pn_ttl: values.ring.as_secs(),
    }
}

/// What the app shows, in its own words.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Alert<'a> {
    loc_key: &'static str,
    loc_args: [Name<'a>; 1],
}

impl<'a> Alert<'a> {
    pub(super) fn of(values: &'a Values<'_>) -> Alert<'a> {
        Alert { loc_key: MESSAGE_LOC_KEY, loc_args: [Name::of(values)] }
    }
}

/// Empty for a caller without a name, as Flexisip has it.
fn display_name<'a>(values: &'a Values<'_>) -> &'a str {
    if values.call.caller.name().is_empty() { "" } else { values.name }
}

/// The name, or the URI of a caller that has none.
struct Name<'a>(&'a str, FromUri<'a>);

impl<'a> Name<'a> {
    fn of(values: &'a Values<'_>) -> Name<'a> {
        Name(display_name(values), FromUri::of(values))
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() { self.1.serialize(serializer) } else { self.0.serialize(serializer) }
    }
}

/// The caller's URI; of a caller that was given as plain text, that text.
struct FromUri<'a> {
    number: &'a str,
    host: &'a str,
}

impl<'a> FromUri<'a> {
    fn of(values: &Values<'a>) -> FromUri<'a> {
        FromUri { number: values.number(), host: values.host() }
    }
}

/// What a user part must escape (RFC 3261 §25.1, `unreserved` and `user-unreserved`).
const USER: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b',')
    .remove(b';')
    .remove(b'?')
    .remove(b'/');

impl Serialize for FromUri<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.number, self.host) {
            (text, "") => serializer.serialize_str(text),
            (number, host) if number == host => serializer.collect_str(&format_args!("sip:{host}")),
            (number, host) => {
                serializer.collect_str(&format_args!("sip:{}@{host}", utf8_percent_encode(number, USER)))
            }
        }
    }
}

/// Seconds since 1970 as Flexisip writes a time: `2026-11-22 09:08:07`, UTC.
struct Utc(i64);

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (year, month, day) = date(self.0.div_euclid(86_400));
        let second = self.0.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        serializer
            .collect_str(&format_args!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"))
    }
}

/// The Gregorian date of a day since 1970. Years are counted from 1 March, so that a leap day is the last of its year; 400 years
/// have 146097 days and 5 months from March on have 153.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values from `date -u -d @…`.
    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_900_000_000, "2030-03-17 17:46:40"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
        ] {
            assert_eq!(serde_json::to_value(Utc(seconds)).unwrap(), expected);
        }
    }

    #[test]
    fn a_uri_is_escaped_and_plain_text_is_not_made_one() {
        let uri = |number, host| serde_json::to_value(FromUri { number, host }).unwrap();
        assert_eq!(uri("+4930123", "example.org"), "sip:+4930123@example.org");
        assert_eq!(uri("jürgen@home", "h"), "sip:j%C3%BCrgen%40home@h");
        assert_eq!(uri("Alice", ""), "Alice");
        assert_eq!(uri("gw.example.org", "gw.example.org"), "sip:gw.example.org");
    }
}
