//! The sample before somebody else's registrar: mid_registrar in the place of registrar.
//!
//! It refuses to be that registrar: a socket of the test answers for it.

use super::{Rig, start};
use crate::support::phone::Phone;
use crate::support::shipped::fcm_token;

/// The sample with mid_registrar, which keeps registrations from the main registrar where it can (mode 2), and the main registrar.
fn start_before_a_registrar(more: &str) -> (Rig, Phone) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let onward = format!("$du = \"sip:127.0.0.1:{}\"", socket.local_addr().unwrap().port());
    // 2: it has been answered
    let save = format!("mid_registrar_save(\"location\"); if ($rc == 1) {{ {onward}; t_relay(); }}");
    let enable = "modparam(\"registrar\", \"pn_enable\", 1)";
    let mode =
        "\nmodparam(\"registrar\", \"mode\", 2)\nmodparam(\"registrar\", \"outgoing_expires\", 3600)\n";
    let rig = start(&[
        (enable, &format!("{enable}{mode}{more}")),
        ("modparam(\"registrar\", \"max_contacts\", 10)\n", ""),
        ("save(\"location\");", &save),
        ("\"registrar.so\"", "\"mid_registrar.so\""),
        ("modparam(\"registrar\"", "modparam(\"mid_registrar\""),
        ("lookup(\"location\")", "mid_registrar_lookup(\"location\")"),
    ]);
    let mut registrar = Phone::on_socket("registrar", socket);
    registrar.serves(rig.opensips.port());
    (rig, registrar)
}

impl Rig {
    /// A REGISTER that goes on to the main registrar.
    fn register_there(&self, registrar: &mut Phone, phone: &mut Phone, uri_parameters: &str) {
        let mut sent = phone.register_request(600);
        let contact = phone.contact();
        sent.text = sent.text.replace(&format!("<{contact}>"), &format!("<{contact}{uri_parameters}>"));
        phone.send(sent.text.as_bytes());
        let request = registrar.expect_request("REGISTER");
        let contact = request.header("Contact").unwrap();
        assert!(!contact.contains("pn-prid"), "the main registrar sees the token: {contact}");
        let granted = format!("Contact: {contact};expires=3600\r\n");
        registrar.answer_with(&request, 200, &granted);
        phone.expect_status(&sent, 200);
    }
}

pub fn a_phone_at_mid_registrar_is_woken() {
    let (rig, mut registrar) = start_before_a_registrar("");
    let (mut caller, mut phone) = (rig.phone("alice"), rig.phone("bob"));
    rig.register_there(&mut registrar, &mut phone, &rig.rfc_8599(1));
    let call = caller.invite("bob");
    let pushes = rig.simulator.wait_for_pushes(0, 1);
    assert_eq!(pushes[0]["headers"]["apns-push-type"], "voip");
    // this one the main registrar does not see
    rig.register(&mut phone, &rig.rfc_8599(1), "", 600);
    rig.talk(&mut caller, &call, &mut phone);
    assert_eq!(registrar.count("REGISTER"), 1);
    rig.stop();
}

pub fn a_registration_at_mid_registrar_that_runs_out_wakes_silently() {
    let early = "modparam(\"registrar\", \"pn_trigger_interval\", 598)";
    let (rig, mut registrar) = start_before_a_registrar(early);
    let mut phone = rig.phone("eve");
    let project = rig.simulator.fact("project");
    let parameters = format!(";pn-provider=fcm;pn-prid={};pn-param={project}", fcm_token(3));
    rig.register_there(&mut registrar, &mut phone, &parameters);
    let push = rig.simulator.wait_for_pushes(0, 1)[0].to_string();
    assert!(push.contains("\"type\":\"refresh\""), "{push}");
    rig.stop();
}
