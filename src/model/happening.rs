//! What happens to a call on its way to a sleeping phone, for whoever asks later why it did not ring.
//!
//! It refuses to hold a token, a caller or an address: who is called and what became of it is all.

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A push was handed to the sender, for one device.
    HandedOver,
    /// A device was not pushed to, since it seems to be there.
    Spared,
    /// An attempt that was not the last one has failed.
    Retried,
    /// A push has ended.
    PushEnded,
    /// The call waits for a phone.
    Parked,
    /// A phone of the user has registered.
    Registered,
    /// The call goes on.
    WentOn,
    /// The INVITE goes out to a phone.
    Invited,
    /// A phone rings.
    Rings,
    /// A phone has answered.
    Answered,
    /// The caller has hung up.
    Cancelled,
    /// The caller got a final answer that is no success.
    Failed,
    /// A phone has registered for a call that was over, and is told so.
    Late,
}

impl Event {
    /// Every event and its name in the file.
    const ALL: [(Event, &str); 13] = [
        (Event::HandedOver, "handed_over"),
        (Event::Spared, "spared"),
        (Event::Retried, "retried"),
        (Event::PushEnded, "push_ended"),
        (Event::Parked, "parked"),
        (Event::Registered, "registered"),
        (Event::WentOn, "went_on"),
        (Event::Invited, "invited"),
        (Event::Rings, "rings"),
        (Event::Answered, "answered"),
        (Event::Cancelled, "cancelled"),
        (Event::Failed, "failed"),
        (Event::Late, "late"),
    ];

    /// Its name in the file.
    pub fn as_str(self) -> &'static str {
        Event::ALL.iter().find(|(event, _)| *event == self).map_or("", |(_, name)| name)
    }

    /// The event of this name.
    pub fn parse(name: &str) -> Option<Event> {
        Event::ALL.iter().find(|(_, known)| *known == name).map(|(event, _)| *event)
    }

    /// Whether a call that was not heard of begins with it.
    pub fn is_first(self) -> bool {
        matches!(self, Event::HandedOver | Event::Spared)
    }
}

/// One event of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// SIP's Call-ID.
    pub call_id: String,
    /// Who is called.
    pub user: String,
    /// ms since 1970.
    pub at_ms: i64,
    /// What has happened.
    pub event: Event,
    /// `name=value`, separated by blanks; a value with blanks stands in quotes, as Rust writes them.
    pub detail: String,
}

impl Happening {
    /// A value of the detail.
    pub fn value(&self, name: &str) -> Option<String> {
        let mut rest = self.detail.as_str();
        while let Some((found, after)) = rest.split_once('=') {
            let (value, left) = first_value(after);
            if found.trim() == name {
                return Some(value);
            }
            rest = left;
        }
        None
    }
}

/// A value, without its quotes, and what stands after it.
fn first_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(' ').unwrap_or((text, ""));
        return (value.to_owned(), rest);
    };
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if is_escaped => {
                value.push(c);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_own_name() {
        for (event, name) in Event::ALL {
            assert_eq!((event.as_str(), Event::parse(name)), (name, Some(event)));
        }
        assert_eq!(Event::parse("other"), None);
    }

    #[test]
    fn values_are_found_by_their_names() {
        let detail = "device=\"token(apns …a b=1)\" provider=apns reason=\"say \\\"no\\\"\" ms=12".to_owned();
        let (call_id, user) = (String::new(), String::new());
        let happening = Happening { call_id, user, at_ms: 0, event: Event::PushEnded, detail };
        let value = |name: &str| happening.value(name);
        assert_eq!(value("device").as_deref(), Some("token(apns …a b=1)"));
        assert_eq!(value("provider").as_deref(), Some("apns"));
        assert_eq!(value("reason").as_deref(), Some("say \"no\""));
        assert_eq!(value("ms").as_deref(), Some("12"));
        assert_eq!(value("b"), None);
    }
}
