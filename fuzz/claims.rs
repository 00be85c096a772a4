//! What is true of every header, whoever sent it.

use voip_push::sip::{
    Ask, Contacts, hidden, push_params_of_header, push_params_of_uri, push_services_of, unescape,
};

/// Panics where something is not as it must be. NUL bytes separate the headers of one message.
pub fn hold(data: &[u8]) {
    let headers: Vec<&[u8]> = data.split(|&byte| byte == 0).collect();
    push_services_of(&headers);
    unescape(data);
    match Contacts::parse(&headers) {
        Ok(Contacts::These(contacts)) => {
            for contact in &contacts {
                let asked = (contact.expires_s(), contact.instance(), contact.wakes_itself());
                // a log may have any of it, so no token is in what is printed
                if let Ok(Ask::Device(device)) = Ask::of(&contact.uri) {
                    let printed = format!("{device:?} {contact:?}");
                    assert!(device.token.len() < 16 || !printed.contains(&device.token), "{asked:?}");
                }
            }
        }
        Ok(Contacts::All) => assert_eq!(data.trim_ascii(), b"*"),
        Err(invalid) => assert_eq!(invalid.what, "Contact"),
    }
    for header in headers {
        is_hidden(header);
    }
}

/// Nothing is invented, and of a well-formed header no push parameter stays.
fn is_hidden(header: &[u8]) {
    for parts in [push_params_of_header(header), push_params_of_uri(header)] {
        let left = hidden(header, &parts);
        let cut: usize = parts.iter().map(|part| part.len()).sum();
        assert_eq!(left.len() + cut, header.len());
        assert!(parts.iter().all(|part| header[part.start] == b';'));
    }
    let left = hidden(header, &push_params_of_header(header));
    if let Ok(Contacts::These(contacts)) = Contacts::parse(&[&left]) {
        for contact in &contacts {
            assert_eq!(contact.uri.param("pn-prid"), Ok(None));
            assert_eq!(contact.uri.param("pn-tok"), Ok(None));
        }
    }
}
