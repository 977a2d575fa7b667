//! Passwords are kept as Argon2id hashes (RFC 9106) in the PHC string format: 19 MiB, two passes, one lane, as OWASP's
//! Password Storage Cheat Sheet asks for at least. One is made at a time, so that a crowd at the login takes the box's
//! memory no more than once.

use std::sync::{Mutex, PoisonError};
use std::thread;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// One at a time.
static TURN: Mutex<()> = Mutex::new(());

/// 19 MiB.
const BLOCKS: usize = 19 * 1024;

/// Whatever else is called there takes far less.
const STACK_BYTES: usize = BLOCKS * Block::SIZE + 256 * 1024;

fn params() -> Params {
    Params::new(u32::try_from(BLOCKS).expect("they are few"), 2, 1, None).expect("the parameters are within limits")
}

/// Works on the stack of a thread of its own, which the system takes back whole as it ends: an allocator would keep so
/// much for the next time, and find small things in it by then.
fn argon2id(params: Params, password: &str, salt: &[u8]) -> argon2::Result<Output> {
    let work = move || {
        #[allow(clippy::large_stack_arrays, reason = "the stack is made for it")]
        let mut memory = [Block::new(); BLOCKS];
        let memory = memory.get_mut(..params.block_count()).ok_or(argon2::Error::MemoryTooMuch)?;
        let mut hash = [0; Params::DEFAULT_OUTPUT_LEN];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut hash, memory)?;
        Ok(Output::new(&hash).expect("it is as long as hashes are"))
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("password".to_owned()).stack_size(STACK_BYTES);
        let worker = thread.spawn_scoped(scope, work).map_err(|_| argon2::Error::OutOfMemory)?;
        worker.join().expect("it does not panic")
    })
}

/// The hash of a password with a salt of its own.
pub fn hash(password: &str) -> String {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let salt = super::random::bytes::<16>();
    let params = params();
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).expect("the parameters can be written"),
        salt: Some(Salt::new(&salt).expect("it is as long as salts are")),
        hash: Some(argon2id(params, password, &salt).expect("a password of a bounded length can be hashed")),
    };
    hash.to_string()
}

/// Whether a password is the one of a hash. Without a hash it takes as long and is not.
pub fn verify(hash: Option<&str>, password: &str) -> bool {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((params, salt, expected)) = hash.and_then(parts) {
        // Outputs are compared in constant time.
        return argon2id(params, password, &salt).is_ok_and(|found| found == expected);
    }
    let _ = argon2id(params(), password, &[0; 16]);
    false
}

/// What a hash of ours is made of.
fn parts(hash: &str) -> Option<(Params, Salt, Output)> {
    let hash = PasswordHash::new(hash).ok()?;
    let is_ours = hash.algorithm == Algorithm::Argon2id.ident() && hash.version == Some(Version::V0x13.into());
    let params = Params::try_from(&hash).ok().filter(|_| is_ours)?;
    Some((params, hash.salt?, hash.hash?))
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

    #[test]
    fn hashes_are_the_ones_of_the_library() {
        use argon2::password_hash::{PasswordHasher, PasswordVerifier};
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params());
        let theirs = argon2.hash_password_with_salt(b"correct horse battery", &[7; 16]).unwrap();
        assert!(verify(Some(&theirs.to_string()), "correct horse battery"));
        let ours = PasswordHash::new(&hash("correct horse battery")).unwrap();
        argon2.verify_password(b"correct horse battery", &ours).unwrap();
        // Another function's hash is none of ours, whatever the password.
        let other = theirs.to_string().replace("argon2id", "argon2i");
        assert!(!verify(Some(&other), "correct horse battery"));
    }
}
