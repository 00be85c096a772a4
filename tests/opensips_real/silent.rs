//! The sample where a phone is woken for something that must not ring: messages, registrations that run out, requests inside a
//! call.
//!
//! It refuses to look at what rings; that is tested beside it.

use super::{Rig, start, token};
use crate::support::phone::{Message, Phone, Sent};
use crate::support::shipped::fcm_token;
use serde_json::Value;

impl Rig {
    fn android(&self, number: u8) -> String {
        format!(";pn-provider=fcm;pn-prid={};pn-param={}", fcm_token(number), self.simulator.fact("project"))
    }

    /// The push number `number`, counted from 1.
    fn push(&self, number: usize) -> Value {
        self.simulator.wait_for_pushes(0, number)[number - 1].clone()
    }

    /// The message arrives once, and is answered.
    fn deliver(&self, sender: &mut Phone, sent: &Sent, phone: &mut Phone) {
        let message = phone.expect_request("MESSAGE");
        assert_eq!(message.header("Call-ID"), Some(sent.call_id.as_str()));
        phone.answer(&message, 200);
        sender.expect_status(sent, 200);
        phone.settle_bare(self.opensips.port());
        let again = |message: &Message| message.header("Call-ID") == Some(sent.call_id.as_str());
        assert!(!phone.take_all().iter().any(again), "{}", self.opensips.log());
    }
}

pub fn a_message_wakes_a_phone_and_is_delivered_once() {
    let rig = start(&[("$avp(vp_filter), 20), VOIP_PUSH_", "$avp(vp_filter), 4), VOIP_PUSH_")]);
    let mut sender = rig.phone("alice");
    // whose token is stored
    let mut phone = rig.phone("bob");
    let headers = format!("X-Push-Token: {}\r\nX-Push-Platform: android\r\n", fcm_token(1));
    rig.register(&mut phone, "", &headers, 600);
    rig.register(&mut phone, "", "", 0);
    let sent = sender.message("bob", "hello");
    let push = rig.push(1).to_string();
    assert!(push.contains("message") && push.contains("alice") && !push.contains("hello"), "{push}");
    phone.register();
    rig.deliver(&mut sender, &sent, &mut phone);
    // who is registered
    let sent = sender.message("bob", "hello again");
    rig.deliver(&mut sender, &sent, &mut phone);
    assert_eq!(rig.simulator.pushes().len(), 1);
    // by RFC 8599
    let mut phone = rig.phone("carol");
    rig.register(&mut phone, &rig.android(2), "", 600);
    let sent = sender.message("carol", "hello");
    let push = rig.push(2).to_string();
    assert!(push.contains("message") && push.contains("alice"), "{push}");
    rig.register(&mut phone, &rig.android(2), "", 600);
    rig.deliver(&mut sender, &sent, &mut phone);
    // nobody comes, and a phone that takes only calls
    rig.register(
        &mut phone,
        "",
        &format!("X-Push-Token: {}\r\nX-Push-Platform: android\r\n", fcm_token(2)),
        0,
    );
    let _iphone = rig.sleeping("dan", 1);
    for user in ["carol", "dan"] {
        let sent = sender.message(user, "hello");
        assert_eq!(sender.expect_final(&sent).status(), 480, "{user}");
    }
    rig.stop();
}

/// OpenSIPS raises its event `pn_trigger_interval` before the end of a registration.
pub fn a_registration_that_runs_out_wakes_silently_or_not_at_all() {
    let early = "modparam(\"registrar\", \"pn_refresh_timeout\", 15)";
    let early = (early, &*format!("{early}\nmodparam(\"registrar\", \"pn_trigger_interval\", 598)"));
    let rig = start(&[early]);
    let mut android = rig.phone("eve");
    rig.register(&mut android, &rig.android(3), "", 600);
    let push = rig.push(1).to_string();
    assert!(push.contains("\"type\":\"refresh\"") && push.contains(&fcm_token(3)), "{push}");
    let mut iphone = rig.phone("dan");
    let both = format!("{}:voip&{}:remote", token(4), token(5));
    let parameters = rig.rfc_8599(4).replace(&token(4), &both) + "&remote";
    rig.register(&mut iphone, &parameters, "", 600);
    let push = rig.push(2);
    assert_eq!(push["token"], token(5).as_str());
    assert_eq!(push["headers"]["apns-push-type"], "background", "{push}");
    // a token for calls only: nothing, and a line that says so
    let mut calls_only = rig.phone("bob");
    rig.register(&mut calls_only, &rig.rfc_8599(1), "", 600);
    rig.opensips.wait_for_log("no push for reg-refresh: this phone takes none but for calls");
    assert_eq!(rig.simulator.pushes().len(), 2);
    rig.stop();
}

/// Requests inside a call wait for a phone that sleeps with `pn_enable_purr` and `pn_process_purr()`.
pub fn a_request_inside_a_call_wakes_silently() {
    let enable = "modparam(\"registrar\", \"pn_enable\", 1)";
    let purr = (enable, &*format!("{enable}\nmodparam(\"registrar\", \"pn_enable_purr\", 1)"));
    let process = (
        "\t\tif (loose_route())\n\t\t\troute(RELAY);",
        "\t\tif (loose_route()) {\n\t\t\tif (!is_method(\"ACK\"))\n\t\t\t\tasync(pn_process_purr(\"location\"), RELAY);\n\
         \t\t\troute(RELAY);\n\t\t}",
    );
    let rig = start(&[purr, process]);
    let (mut caller, mut phone) = (rig.phone("alice"), rig.phone("eve"));
    let answer = rig.register(&mut phone, &rig.android(3), "", 600);
    let caps = answer.header("Feature-Caps").unwrap_or_default().to_owned();
    let purr =
        caps.split_once("+sip.pnspurr=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(purr, _)| purr);
    let purr = purr.unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    let call = caller.invite("eve");
    rig.push(1);
    rig.register(&mut phone, &rig.android(3), "", 600);
    let invite = phone.expect_request("INVITE");
    let with_purr = format!("Contact: <{};pn-purr={purr}>\r\n", phone.contact());
    phone.answer_with(&invite, 200, &with_purr);
    let answer = caller.expect_status(&call, 200);
    caller.within("ACK", &call, &answer);
    phone.expect_request("ACK");
    let bye = caller.within("BYE", &call, &answer);
    let push = rig.push(2).to_string();
    assert!(push.contains("\"type\":\"refresh\"") && !push.contains("alice"), "{push}");
    rig.register(&mut phone, &rig.android(3), "", 600);
    let request = phone.expect_request("BYE");
    phone.answer(&request, 200);
    caller.expect_status(&bye, 200);
    rig.stop();
}
