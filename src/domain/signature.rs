//! Sonar's signature of a webhook: HMAC-SHA256 over the raw bytes of the body, as 64 lower-case hex digits.

use ring::hmac;

/// The header that carries the signature.
pub const HEADER: &str = "x-sonar-webhook-hmac-sha256";

/// Shortest and longest secret that Sonar takes, in characters.
pub const SECRET_CHARACTERS: std::ops::RangeInclusive<usize> = 16..=200;

/// A signature that has the right form; whether it is right shows when it is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 32]);

impl Signature {
    /// Takes exactly 64 lower-case hex digits; any other form is no signature.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        hex(header, &mut bytes)?;
        Some(Self(bytes))
    }

    /// Whether one of the secrets made this signature over the body. Every secret is tried, in constant time
    /// each, so that the answer's time says nothing about a secret.
    pub fn verifies<'a>(&self, body: &[u8], secrets: impl Iterator<Item = &'a Secret>) -> bool {
        let mut verified = false;
        for secret in secrets {
            verified |= hmac::verify(&secret.key, body, &self.0).is_ok();
        }
        verified
    }
}

/// A webhook's secret, ready for use. Its text cannot be read back from it, and `Debug` prints none of it.
#[derive(Clone)]
pub struct Secret {
    key: hmac::Key,
}

/// Why a text cannot be a webhook's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret has 16 to 200 characters (Sonar's rule), this one has {characters}")]
pub struct BadSecret {
    characters: usize,
}

impl Secret {
    /// Sonar's rule for length, counted in characters; the key is the text's UTF-8.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let characters = text.chars().count();
        if !SECRET_CHARACTERS.contains(&characters) {
            return Err(BadSecret { characters });
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()) })
    }

    /// Signs as Sonar does.
    pub fn sign(&self, body: &[u8]) -> String {
        to_hex(hmac::sign(&self.key, body).as_ref())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Bytes as lower-case hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Lower-case hex digits, exactly as many as fill `out`.
pub fn hex(text: &[u8], out: &mut [u8]) -> Option<()> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    if text.len() != out.len() * 2 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "shared-webhook-secret-0123456789";
    const BODY: &[u8] = br#"{"project":{"key":"P1"},"url":"a\u003db"}"#;

    fn secret(text: &str) -> Secret {
        Secret::parse(text).unwrap()
    }

    #[test]
    fn rfc_4231_test_case_2_holds() {
        // The key is shorter than Sonar allows, so it is made by hand.
        let key = Secret { key: hmac::Key::new(hmac::HMAC_SHA256, b"Jefe") };
        assert_eq!(
            key.sign(b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_signature_holds_for_these_bytes_and_any_valid_secret_only() {
        let signature = Signature::parse(secret(SECRET).sign(BODY).as_bytes()).unwrap();
        let other = secret("another-secret-of-16");
        assert!(signature.verifies(BODY, [&other, &secret(SECRET)].into_iter()));
        assert!(!signature.verifies(BODY, [&other].into_iter()));
        assert!(!signature.verifies(BODY, [].into_iter()));
        assert!(!signature.verifies(&BODY[1..], [&secret(SECRET)].into_iter()));
    }

    #[test]
    fn only_64_lower_case_hex_digits_are_a_signature() {
        let right = secret(SECRET).sign(BODY);
        assert!(Signature::parse(right.as_bytes()).is_some());
        for bad in ["", "sha256=", &right[1..], &right.to_uppercase(), &format!("{right}0"), &format!("sha256={right}")]
        {
            assert!(Signature::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_secret_has_16_to_200_characters_and_is_never_printed() {
        assert!(Secret::parse(&"s".repeat(15)).is_err());
        assert!(Secret::parse(&"ü".repeat(16)).is_ok());
        assert!(Secret::parse(&"s".repeat(200)).is_ok());
        assert!(Secret::parse(&"s".repeat(201)).is_err());
        assert_eq!(format!("{:?}", secret(SECRET)), "Secret(…)");
    }

    proptest::proptest! {
        /// What was signed is right as it is, and with any one bit of body or signature changed it is not.
        #[test]
        fn a_signature_holds_for_exactly_what_was_signed(
            text in proptest::collection::vec(proptest::char::any(), 16..200),
            body in proptest::collection::vec(proptest::num::u8::ANY, 1..300),
            bit in proptest::num::usize::ANY,
        ) {
            let secret = secret(&String::from_iter(text));
            let signed = Signature::parse(secret.sign(&body).as_bytes()).unwrap();
            proptest::prop_assert!(signed.verifies(&body, std::iter::once(&secret)));
            let mut other = body.clone();
            other[bit / 8 % body.len()] ^= 1 << (bit % 8);
            proptest::prop_assert!(!signed.verifies(&other, std::iter::once(&secret)));
            let mut changed = signed;
            changed.0[bit / 8 % 32] ^= 1 << (bit % 8);
            proptest::prop_assert!(!changed.verifies(&body, std::iter::once(&secret)));
        }

        #[test]
        fn bytes_are_what_their_hex_digits_say(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            let mut back = vec![0; bytes.len()];
            proptest::prop_assert_eq!(hex(to_hex(&bytes).as_bytes(), &mut back), Some(()));
            proptest::prop_assert_eq!(back, bytes);
        }
    }
}
