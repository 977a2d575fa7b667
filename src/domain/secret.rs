//! Text that is to be kept secret.

use std::fmt;
use std::ops::Deref;

use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// A token, a password, a passphrase, a key as text, or an address that may hold one. `Debug` prints none of it, there is no
/// `Display`, and its memory is wiped when it is dropped. It reads as a `str`: whoever prints that means to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a text in. It is not copied, so that nothing is left of it elsewhere.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Deref for SecretText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl AsRef<str> for SecretText {
    fn as_ref(&self) -> &str {
        self
    }
}

impl From<Zeroizing<String>> for SecretText {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&SecretBytes> for SecretText {
    fn from(bytes: &SecretBytes) -> Self {
        bytes.as_text().into()
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl<C> Encode<C> for SecretText {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(self)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SecretText {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        decoder.str().map(Self::from)
    }
}

/// The same as bytes, as the store seals them.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes bytes in.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes of a text, without white space around it.
    pub fn trimmed(text: &str) -> Self {
        Self::new(text.trim().as_bytes().to_vec())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, which secrets that people type are.
    pub fn as_text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_nothing_of_itself_and_goes_through_both_encodings() {
        let secret = SecretText::from("hunter2-hunter2");
        let bytes = SecretBytes::new(b"hunter2-hunter2".to_vec());
        for shown in [format!("{secret:?}"), format!("{:#?}", Some(&secret)), format!("{bytes:?}")] {
            assert!(shown.contains('…') && !shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        }
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(json, r#""hunter2-hunter2""#);
        assert_eq!(serde_json::from_str::<SecretText>(&json).unwrap(), secret);
        let cbor = minicbor::to_vec(&secret).unwrap();
        assert_eq!(minicbor::to_vec("hunter2-hunter2").unwrap(), cbor, "records that hold it as text stay readable");
        assert_eq!(minicbor::decode::<SecretText>(&cbor).unwrap(), secret);
    }

    #[test]
    fn what_is_taken_in_is_not_copied() {
        let text = String::from("hunter2-hunter2");
        let place = text.as_ptr();
        assert_eq!(SecretText::new(text).as_ptr(), place);
    }
}
