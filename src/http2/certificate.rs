//! Until when a certificate is good.
//!
//! It refuses to judge it, and to be asked about one that nobody has verified: rustls does that first.

use simple_asn1::{ASN1Block, from_der};

/// When a certificate in DER ends, in seconds since 1970; `None` where it cannot be read.
pub fn certificate_ends_at_s(certificate: &[u8]) -> Option<u64> {
    let blocks = from_der(certificate).ok()?;
    let Some(ASN1Block::Sequence(_, certificate)) = blocks.first() else { return None };
    let Some(ASN1Block::Sequence(_, signed)) = certificate.first() else { return None };
    signed.iter().find_map(end_of_validity)
}

/// The end, where this field is the validity: no other field is a pair of times (RFC 5280 §4.1).
fn end_of_validity(field: &ASN1Block) -> Option<u64> {
    use ASN1Block::{GeneralizedTime, Sequence, UTCTime};
    let Sequence(_, pair) = field else { return None };
    let [UTCTime(..) | GeneralizedTime(..), UTCTime(_, end) | GeneralizedTime(_, end)] = &pair[..] else {
        return None;
    };
    u64::try_from(end.assume_utc().unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    // Made with `openssl req -x509`; the end is what `openssl x509 -enddate` says.
    /// Ends in 2036, which a certificate writes with two digits of the year.
    const UTC_TIME: (&str, u64) = (
        "-----BEGIN CERTIFICATE-----\n\
         MIIBzzCCAXSgAwIBAgIUCx2eRBMR24fSkBD/PH09tWTxmm4wCgYIKoZIzj0EAwIw\n\
         LTEQMA4GA1UECgwHRXhhbXBsZTEZMBcGA1UEAwwQcHVzaC5leGFtcGxlLm9yZzAe\n\
         Fw0yNjExMjMwMTI2NTdaFw0zNjExMjAwMTI2NTdaMC0xEDAOBgNVBAoMB0V4YW1w\n\
         bGUxGTAXBgNVBAMMEHB1c2guZXhhbXBsZS5vcmcwWTATBgcqhkjOPQIBBggqhkjO\n\
         PQMBBwNCAASNc3KUOOo/AdtGVyntfBrBXhjnkI0oMuQgDE7s0XciARfgqLz3QjRa\n\
         Sxaj4MX9ZOFB/uULFtTxNxfufUoF7vAVo3IwcDAdBgNVHQ4EFgQUqXpfAZF9xyMu\n\
         2Ubc480hcsQsmu0wHwYDVR0jBBgwFoAUqXpfAZF9xyMu2Ubc480hcsQsmu0wDwYD\n\
         VR0TAQH/BAUwAwEB/zAdBgNVHREEFjAUghIqLnB1c2guZXhhbXBsZS5vcmcwCgYI\n\
         KoZIzj0EAwIDSQAwRgIhAJneDpV1siClvFw3tTU35S5Czpk0QE0viDxAvfprldbg\n\
         AiEAmO22/OdXzgnSGuynoEr+urNAPaFKh13mpdWFR7Wnff8=\n\
         -----END CERTIFICATE-----",
        2_110_757_217,
    );
    /// Ends after 2049, which it writes with four.
    const GENERALIZED_TIME: (&str, u64) = (
        "-----BEGIN CERTIFICATE-----\n\
         MIIB0TCCAXagAwIBAgIUeg4wOfiXu3KVePErRspiSmwHh3MwCgYIKoZIzj0EAwIw\n\
         LTEQMA4GA1UECgwHRXhhbXBsZTEZMBcGA1UEAwwQcHVzaC5leGFtcGxlLm9yZzAg\n\
         Fw0yNjExMjMwMTI2NTdaGA8yMDU0MDQxMDAxMjY1N1owLTEQMA4GA1UECgwHRXhh\n\
         bXBsZTEZMBcGA1UEAwwQcHVzaC5leGFtcGxlLm9yZzBZMBMGByqGSM49AgEGCCqG\n\
         SM49AwEHA0IABI1zcpQ46j8B20ZXKe18GsFeGOeQjSgy5CAMTuzRdyIBF+CovPdC\n\
         NFpLFqPgxf1k4UH+5QsW1PE3F+59SgXu8BWjcjBwMB0GA1UdDgQWBBSpel8BkX3H\n\
         Iy7ZRtzjzSFyxCya7TAfBgNVHSMEGDAWgBSpel8BkX3HIy7ZRtzjzSFyxCya7TAP\n\
         BgNVHRMBAf8EBTADAQH/MB0GA1UdEQQWMBSCEioucHVzaC5leGFtcGxlLm9yZzAK\n\
         BggqhkjOPQQDAgNJADBGAiEAhRgsFI6jUId40FiMzRw4BNt73AiITG2sCrNXHzIp\n\
         sH0CIQCcd8uN25Jdp8vgArBGf66OlI5zLsdtOVcXYiyF5w3m+A==\n\
         -----END CERTIFICATE-----",
        2_659_397_217,
    );

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn the_end_is_what_openssl_reads() {
        for (pem, ends_at_s) in [UTC_TIME, GENERALIZED_TIME] {
            assert_eq!(certificate_ends_at_s(&der(pem)), Some(ends_at_s));
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let certificate = der(UTC_TIME.0);
        for len in 0..certificate.len() {
            assert_eq!(certificate_ends_at_s(&certificate[..len]), None, "{len}");
        }
        assert_eq!(certificate_ends_at_s(b"\x30\x02\x30\x00"), None);
        assert_eq!(certificate_ends_at_s(b"\x02\x01\x00"), None);
    }
}
