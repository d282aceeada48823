//! Signatures after Standard Webhooks, version 1: HMAC-SHA256 over name, time and body.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// How many bytes a secret may have.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that only the server and its receivers know.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why a text is not a secret. The text is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error(
        "a webhook secret begins with {PREFIX}: make one with `echo {PREFIX}$(openssl rand -base64 32)`"
    )]
    Prefix,

    #[error("what follows {PREFIX} in a webhook secret is base64 with its padding")]
    Base64,

    #[error("a webhook secret has 24 to 64 bytes, and this one has {0}")]
    Length(usize),
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SecretError::Base64)?;
        if !LENGTHS.contains(&bytes.len()) {
            return Err(SecretError::Length(bytes.len()));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Signs events with every secret that receivers may know: with both while one replaces another.
#[derive(Debug, Clone)]
pub(super) struct Signer(Vec<Secret>);

impl Signer {
    /// Signs with each of `secrets`.
    pub(super) fn new(secrets: Vec<Secret>) -> Self {
        Self(secrets)
    }

    /// The value of `webhook-signature` for a message of this `webhook-id`, `webhook-timestamp`
    /// (seconds since 1970) and body.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let signatures = self.0.iter().map(|secret| {
            let mac = Hmac::<Sha256>::new_from_slice(&secret.0);
            let mac = mac.expect("HMAC takes keys of any length").chain_update(&signed);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_message_has_its_known_signature() {
        // Made with Python's hmac module.
        let first: Secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3".parse().unwrap();
        let second: Secret = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo=".parse().unwrap();
        let sign = |secrets| Signer::new(secrets).sign("evt_1", 1_700_000_000, r#"{"a":"ß"}"#);
        let expected = "v1,EZXlKUXhMvFS2tjajwRTuG/UokPrYIxzXynPvaBrZNM=";
        assert_eq!(sign(vec![first.clone()]), expected);
        let both = format!("{expected} v1,tKRpZqCAewF7QAOH+hV0Bbj4f38OmZATB/tkq2eoT0M=");
        assert_eq!(sign(vec![first, second]), both, "while one replaces the other");
    }

    #[test]
    fn an_invalid_secret_is_refused_without_being_quoted() {
        fn check(text: &str, error: SecretError) {
            assert_eq!(text.parse::<Secret>().expect_err(text), error);
            assert!(!error.to_string().contains("AAAA"), "{error}");
        }
        check("AAAA", SecretError::Prefix);
        check("", SecretError::Prefix);
        check("whsec_AAAA*", SecretError::Base64);
        check("whsec_AAAAA", SecretError::Base64);
        check(&format!("whsec_{}", STANDARD.encode([0; 23])), SecretError::Length(23));
        check(&format!("whsec_{}", STANDARD.encode([0; 65])), SecretError::Length(65));
        for length in [24, 64] {
            let text = format!("whsec_{}", STANDARD.encode(vec![0; length]));
            let secret: Secret = text.parse().unwrap();
            assert_eq!(format!("{secret:?}"), "Secret(…)");
        }
    }
}
