//! Passwords are kept as Argon2id hashes (RFC 9106) in the PHC string format: 19 MiB, two passes, one lane, as OWASP's
//! Password Storage Cheat Sheet asks for at least. One is made at a time, so that a crowd at the login takes the box's
//! memory no more than once.

use std::sync::{Mutex, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

/// One at a time.
static TURN: Mutex<()> = Mutex::new(());

fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("the parameters are within the algorithm's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The hash of a password with a salt of its own.
pub fn hash(password: &str) -> String {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let salt = super::random::bytes::<16>();
    let hash = argon2().hash_password_with_salt(password.as_bytes(), &salt);
    hash.expect("a password of a bounded length can be hashed").to_string()
}

/// Whether a password is the one of a hash. Without a hash it takes as long and is not.
pub fn verify(hash: Option<&str>, password: &str) -> bool {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hash) = hash.and_then(|hash| PasswordHash::new(hash).ok()) {
        return argon2().verify_password(password.as_bytes(), &hash).is_ok();
    }
    let _ = argon2().hash_password_with_salt(password.as_bytes(), &[0; 16]);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let hash = hash("correct horse battery");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify(Some(&hash), "correct horse battery"));
        assert!(!verify(Some(&hash), "correct horse batterx"));
        assert!(!verify(None, "correct horse battery") && !verify(Some("nonsense"), ""));
        assert_ne!(hash, super::hash("correct horse battery"));
    }
}
