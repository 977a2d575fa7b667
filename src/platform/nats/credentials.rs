//! What a server of NATS knows a box by.

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::{KeyPair, KeyPairType};

use crate::domain::secret::SecretText;
use crate::platform::BadDestination;

/// One of the ways to prove who one is.
pub(super) enum Credentials {
    /// None: the server takes anybody, or tells boxes apart by something else.
    None,
    /// A credentials file (`.creds`): a user's JWT and the seed of its key.
    Jwt { jwt: SecretText, seed: SecretText },
    /// The seed of a key whose public half the server knows.
    Seed(SecretText),
    /// A name and a password.
    Password { name: String, password: SecretText },
    /// A token.
    Token(SecretText),
}

impl Credentials {
    /// Reads what a person gave.
    ///
    /// # Errors
    /// If it looks like one of the kinds and is not whole.
    pub(super) fn parse(text: &str) -> Result<Self, BadDestination> {
        let bad = |why: &str| BadDestination(format!("the secret {why}"));
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::None);
        }
        if text.contains("-----") {
            let within = |name: &str| section(text, name).map(SecretText::from);
            let jwt = within("NATS USER JWT").ok_or_else(|| bad("is a file of credentials without a user's JWT"))?;
            let seed = within("USER NKEY SEED").ok_or_else(|| bad("is a file of credentials without a user's seed"))?;
            user(&seed).ok_or_else(|| bad("is a file of credentials whose seed is not a user's"))?;
            return Ok(Self::Jwt { jwt, seed });
        }
        if text.contains(char::is_whitespace) {
            return Err(bad(
                "has white space in it; a file of credentials, a user's seed, NAME:PASSWORD or a token is expected",
            ));
        }
        if text.starts_with("SU") && text.len() == SEED_CHARACTERS {
            user(text).ok_or_else(|| bad("looks like the seed of a user's key, and is none; is it whole?"))?;
            return Ok(Self::Seed(text.into()));
        }
        if looks_like_a_seed(text) {
            return Err(bad("looks like the seed of a key that is not a user's, or like a part of one"));
        }
        Ok(match text.split_once(':') {
            Some((name, password)) => Self::Password { name: name.to_owned(), password: password.into() },
            None => Self::Token(text.into()),
        })
    }

    /// What is proven, for a person.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "nothing: the server takes whoever comes",
            Self::Jwt { .. } => "a user's JWT and key",
            Self::Seed(_) => "a user's key",
            Self::Password { .. } => "a name and a password",
            Self::Token(_) => "a token",
        }
    }

    /// Options with it.
    pub(super) fn options(&self) -> ConnectOptions {
        match self {
            Self::None => ConnectOptions::new(),
            Self::Password { name, password } => {
                ConnectOptions::with_user_and_password(name.clone(), password.to_string())
            }
            Self::Token(token) => ConnectOptions::with_token(token.to_string()),
            Self::Seed(seed) => signing(seed.clone(), None),
            Self::Jwt { jwt, seed } => signing(seed.clone(), Some(jwt.clone())),
        }
    }
}

/// Signs what the server asks to be signed.
fn signing(seed: SecretText, jwt: Option<SecretText>) -> ConnectOptions {
    ConnectOptions::with_auth_callback(move |nonce| {
        let signed = sign(&seed, jwt.as_ref(), &nonce);
        async move { signed }
    })
}

fn sign(seed: &SecretText, jwt: Option<&SecretText>, nonce: &[u8]) -> Result<Auth, AuthError> {
    let pair = user(seed).ok_or_else(|| AuthError::new("the seed is no user's"))?;
    let mut auth = Auth::new();
    auth.signature = Some(pair.sign(nonce).map_err(AuthError::new)?);
    match jwt {
        Some(jwt) => auth.jwt = Some(jwt.to_string()),
        None => auth.nkey = Some(pair.public_key()),
    }
    Ok(auth)
}

fn user(seed: &str) -> Option<KeyPair> {
    KeyPair::from_seed(seed).ok().filter(|pair| pair.key_pair_type() == KeyPairType::User)
}

/// What goes to the server as a token must not be a key by mistake.
fn looks_like_a_seed(text: &str) -> bool {
    let base32 = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
    text.starts_with('S') && text.len() >= 50 && text.bytes().all(base32)
}

/// What stands between the marks of a section. A browser's field takes the line breaks out.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("BEGIN {name}---"))?;
    let (within, _) = after.trim_start_matches('-').split_once("---END")?;
    Some(within.trim_end_matches('-').trim())
        .filter(|within| !within.is_empty() && !within.contains(char::is_whitespace))
}

/// A seed: two bytes of kind, 32 of key and two of checksum, in base32.
const SEED_CHARACTERS: usize = 58;

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Result<&'static str, String> {
        Credentials::parse(text).map(|credentials| credentials.kind()).map_err(|bad| bad.0)
    }

    #[test]
    fn what_was_given_says_by_itself_what_it_is() {
        let seed = KeyPair::new_user().seed().unwrap();
        let file = |jwt: &str, seed: &str| {
            format!(
                "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n**** IMPORTANT ****\n\n\
                 -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\n"
            )
        };
        assert_eq!(kind(" \n"), Ok("nothing: the server takes whoever comes"));
        assert_eq!(kind(&format!("{seed}\n")), Ok("a user's key"));
        assert_eq!(kind(&file("eyJ0.e30.x", &seed)), Ok("a user's JWT and key"));
        assert_eq!(kind(&file("eyJ0.e30.x", &seed).replace(['\r', '\n'], "")), Ok("a user's JWT and key"), "one line");
        assert_eq!(kind("box:secret:with:colons"), Ok("a name and a password"));
        assert_eq!(kind("s3cr3t"), Ok("a token"));
        for (text, why) in [
            (file("", &seed), "the secret is a file of credentials without a user's JWT"),
            (file("eyJ0.e30.x", ""), "the secret is a file of credentials without a user's seed"),
            (file("eyJ0.e30.x", &seed[1..]), "the secret is a file of credentials whose seed is not a user's"),
            (
                file("eyJ0.e30.x", &KeyPair::new_account().seed().unwrap()),
                "the secret is a file of credentials whose seed is not a user's",
            ),
            (
                format!("{}{}{}", &seed[..30], if seed[30..].starts_with('A') { 'B' } else { 'A' }, &seed[31..]),
                "the secret looks like the seed of a user's key, and is none; is it whole?",
            ),
            (
                KeyPair::new_account().seed().unwrap(),
                "the secret looks like the seed of a key that is not a user's, or like a part of one",
            ),
            (
                seed[..57].to_owned(),
                "the secret looks like the seed of a key that is not a user's, or like a part of one",
            ),
            (
                "two words".to_owned(),
                "the secret has white space in it; a file of credentials, a user's seed, NAME:PASSWORD or a token is expected",
            ),
        ] {
            assert_eq!(kind(&text), Err(why.to_owned()), "{text}");
        }
    }
}
