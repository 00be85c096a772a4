//! Whose address a request counts for: the peer's, or what a reverse proxy says that we were told to believe.
//!
//! It refuses to believe anybody else: whoever may name his own address may guess API keys for ever.

use std::net::IpAddr;

use http::HeaderMap;

/// What a proxy appends the address to that it was asked from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address. Where the peer is a known proxy, the last address in X-Forwarded-For that is none; what stands before it
/// the client may have written himself. A proxy that says nothing to be read is the client.
pub fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> IpAddr {
    let is_proxy = |address: &IpAddr| proxies.iter().any(|proxy| proxy.to_canonical() == *address);
    let peer = peer.to_canonical();
    if !is_proxy(&peer) {
        return peer;
    }
    let lines: Vec<_> =
        headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or("")).collect();
    let backwards = lines.iter().rev().flat_map(|line| line.rsplit(','));
    let mut known = backwards.map_while(parse);
    known.find(|address| !is_proxy(address)).unwrap_or(peer)
}

/// An address, which of IPv6 may stand in brackets; some proxies write the port behind it.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.split_once(']')).map_or(text, |(bare, _)| bare);
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    bare.parse::<IpAddr>().ok().or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const PROXIES: [IpAddr; 2] =
        [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];

    fn asked(peer: &str, lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        address(peer.parse().unwrap(), &headers, &PROXIES).to_string()
    }

    #[test]
    fn nobody_but_a_known_proxy_is_believed() {
        assert_eq!(asked("192.0.2.1", &["192.0.2.9"]), "192.0.2.1");
        assert_eq!(asked("127.0.0.1", &["192.0.2.9"]), "192.0.2.9");
        assert_eq!(asked("::ffff:127.0.0.1", &["192.0.2.9"]), "192.0.2.9");
        assert_eq!(asked("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn what_a_client_has_put_before_is_not_believed() {
        assert_eq!(asked("127.0.0.1", &["198.51.100.1, 192.0.2.9"]), "192.0.2.9");
        assert_eq!(asked("127.0.0.1", &["198.51.100.1", "192.0.2.9, ::1"]), "192.0.2.9");
        assert_eq!(asked("::1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(asked("127.0.0.1", &["192.0.2.9:4711"]), "192.0.2.9");
        for nothing in ["", "unknown", "192.0.2.9, evil", "127.0.0.1"] {
            assert_eq!(asked("127.0.0.1", &[nothing]), "127.0.0.1", "{nothing}");
        }
    }
}
