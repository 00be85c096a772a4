//! What became of a call, in plain words.
//!
//! It refuses to guess beyond what was seen: where nothing tells why, it says what to look at.

use crate::model::{Event, Happening};

/// Why a phone did, or did not, ring; one or two sentences.
pub fn verdict(happenings: &[Happening]) -> String {
    let seen = Seen(happenings);
    seen.answered()
        .or_else(|| seen.rang())
        .or_else(|| seen.invited())
        .or_else(|| seen.late())
        .or_else(|| seen.refused())
        .or_else(|| seen.accepted())
        .or_else(|| seen.unpushed())
        .unwrap_or_else(|| "It is under way, or its end was not seen.".to_owned())
}

struct Seen<'a>(&'a [Happening]);

impl Seen<'_> {
    fn first(&self, event: Event) -> Option<&Happening> {
        self.0.iter().find(|happening| happening.event == event)
    }

    fn last(&self, event: Event) -> Option<&Happening> {
        self.0.iter().rev().find(|happening| happening.event == event)
    }

    /// The ends of pushes that were about the call itself.
    fn ends(&self) -> impl Iterator<Item = &Happening> {
        self.0.iter().filter(|happening| {
            happening.event == Event::PushEnded && happening.value("kind").as_deref() == Some("call")
        })
    }

    fn accepted_at(&self) -> Option<i64> {
        self.ends().find(|end| is(end, "outcome", "accepted")).map(|end| end.at_ms)
    }

    fn answered(&self) -> Option<String> {
        let answered = self.first(Event::Answered)?;
        Some(match self.accepted_at().filter(|at| *at <= answered.at_ms) {
            Some(at) => {
                format!("A phone answered, {} after the push was accepted.", seconds(answered.at_ms - at))
            }
            None => "A phone answered.".to_owned(),
        })
    }

    fn rang(&self) -> Option<String> {
        let rings = self.first(Event::Rings)?;
        let rang_for = |end: &Happening| seconds(end.at_ms - rings.at_ms);
        if let Some(end) = self.last(Event::Cancelled) {
            return Some(format!("A phone rang for {}, and the caller hung up.", rang_for(end)));
        }
        let end = self.last(Event::Failed)?;
        let status = end.value("status").unwrap_or_default();
        let why = match status.as_str() {
            "486" | "603" | "600" => "was declined",
            "480" | "408" => "was not answered in time",
            _ => "did not answer",
        };
        Some(format!("A phone rang for {} and {why} ({status}).", rang_for(end)))
    }

    fn invited(&self) -> Option<String> {
        let invited = self.last(Event::Invited)?;
        let ended = self.last(Event::Failed).or_else(|| self.last(Event::Cancelled))?;
        let registered = match self.first(Event::Registered) {
            Some(_) => "A phone registered, ",
            None => "",
        };
        Some(format!(
            "{registered}{} INVITE went out to it and it did not ring within {}: look at the app, and at what is between it and \
             the server (NAT, firewall, TLS).",
            if registered.is_empty() { "An" } else { "the" },
            seconds(ended.at_ms - invited.at_ms),
        ))
    }

    fn late(&self) -> Option<String> {
        let late = self.last(Event::Late)?;
        let end = self.last(Event::Cancelled).or_else(|| self.last(Event::Failed));
        let after = end.map_or(String::new(), |end| format!("{} ", seconds(late.at_ms - end.at_ms)));
        Some(format!(
            "A phone registered {after}after the call was over: it woke too slowly, or the caller hung up too soon."
        ))
    }

    /// No push was accepted.
    fn refused(&self) -> Option<String> {
        if self.accepted_at().is_some() {
            return None;
        }
        let end = self.ends().last()?;
        let who = match end.value("provider").as_deref() {
            Some("apns") => "Apple",
            Some("fcm") => "Google",
            _ => "The provider",
        };
        let reason = end.value("reason").unwrap_or_default();
        Some(match end.value("outcome").as_deref() {
            Some("token_gone") => {
                format!(
                    "{who} said that the token is dead; the app must register a new one, so it must be started once."
                )
            }
            Some("rejected") => format!("{who} rejected the push: {reason}."),
            Some("credential_refused") => {
                format!(
                    "{who} refused our credential: {reason}. No phone of this app can be woken; run voip-push check."
                )
            }
            Some("throttled") => format!("Too many pushes: {reason}."),
            _ => format!("{who} could not be reached in time: {reason}."),
        })
    }

    /// A push was accepted, and no phone came.
    fn accepted(&self) -> Option<String> {
        let accepted_at = self.accepted_at()?;
        if let Some(end) = self.last(Event::Cancelled) {
            let waited = seconds(end.at_ms - accepted_at);
            return Some(format!(
                "The caller hung up {waited} after the push was accepted, before a phone registered."
            ));
        }
        let end = self.last(Event::Failed)?;
        let waited = seconds(end.at_ms - accepted_at);
        Some(format!(
            "The push was accepted and no phone registered within {waited}: it is off or has no network, the app was ended by force, \
             or it does not register when it is woken."
        ))
    }

    /// Nothing was pushed.
    fn unpushed(&self) -> Option<String> {
        self.first(Event::Spared)?;
        Some("It was not pushed, since its phone seemed to be there.".to_owned())
    }
}

fn is(happening: &Happening, name: &str, value: &str) -> bool {
    happening.value(name).as_deref() == Some(value)
}

fn seconds(ms: i64) -> String {
    match ms.max(0) {
        ms @ ..1000 => format!("{ms} ms"),
        ms => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(happenings: &[(i64, Event, &str)]) -> String {
        let happening = |(at_ms, event, detail): &(i64, Event, &str)| Happening {
            call_id: "c".to_owned(),
            user: "bob".to_owned(),
            at_ms: *at_ms,
            event: *event,
            detail: (*detail).to_owned(),
        };
        verdict(&happenings.iter().map(happening).collect::<Vec<_>>())
    }

    const OK: &str = "kind=call provider=apns outcome=accepted reason=\"\"";

    #[test]
    fn each_end_has_its_words() {
        use Event::{Answered, Cancelled, Failed, Invited, Late, PushEnded, Registered, Rings};
        let dead = "kind=call provider=apns outcome=token_gone reason=\"\"";
        let key = "kind=call provider=fcm outcome=credential_refused reason=\"UNAUTHENTICATED\"";
        for (happenings, expected) in [
            (
                vec![(0, PushEnded, OK), (1500, Registered, ""), (1600, Rings, ""), (4000, Answered, "")],
                "A phone answered, 4.0 s after",
            ),
            (
                vec![(0, PushEnded, OK), (1600, Rings, ""), (4000, Cancelled, "")],
                "A phone rang for 2.4 s, and the caller hung up.",
            ),
            (
                vec![(1600, Rings, ""), (4000, Failed, "status=486")],
                "A phone rang for 2.4 s and was declined (486).",
            ),
            (
                vec![
                    (0, PushEnded, OK),
                    (10, Registered, ""),
                    (20, Invited, ""),
                    (900, Failed, "status=408"),
                ],
                "A phone registered, the INVITE went out to it and it did not ring within 880 ms",
            ),
            (vec![(0, PushEnded, dead), (5, Failed, "status=480")], "Apple said that the token is dead"),
            (
                vec![(0, PushEnded, key), (5, Failed, "status=480")],
                "Google refused our credential: UNAUTHENTICATED.",
            ),
            (
                vec![(0, PushEnded, dead), (3, PushEnded, OK), (15_003, Failed, "status=480")],
                "The push was accepted and no phone registered within 15.0 s",
            ),
            (
                vec![(0, PushEnded, OK), (3000, Cancelled, "")],
                "The caller hung up 3.0 s after the push was accepted, before",
            ),
            (
                vec![(0, PushEnded, OK), (3000, Cancelled, ""), (3500, Registered, ""), (3500, Late, "")],
                "A phone registered 500 ms after the call was over",
            ),
            (vec![(0, PushEnded, OK)], "It is under way"),
            (
                vec![(0, PushEnded, OK), (9, Event::PushEnded, "kind=cancelled outcome=rejected")],
                "It is under way",
            ),
        ] {
            let said = verdict_of(&happenings);
            assert!(said.starts_with(expected), "{said}\ninstead of {expected}");
        }
    }
}
