//! Who may use the page and the API: users, logins, tokens. Of what a browser or a
//! program shows to be let in only a SHA-256 is kept: it has 256 random bits, so that nothing slower is needed.

use minicbor::{Decode, Encode};
use ring::digest::{SHA256, digest};

use super::tables::{self, Key};
use super::{Batch, StoreError, View, get, scan};
use crate::domain::access::{CODE_AGE_MAX, CODE_TRIES_MAX, Role, is_session_good};
use crate::domain::ids::{TokenName, UserName};
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// The SHA-256 of a secret that is shown to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Print(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl Print {
    /// Of a secret.
    pub fn of(secret: &str) -> Self {
        Self(digest(&SHA256, secret.as_bytes()).as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }
}

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct User {
    /// What they may do.
    #[n(0)]
    pub role: Role,
    /// The hash of their password, in the PHC string format; none until they have chosen one.
    #[n(1)]
    pub password: Option<String>,
    /// When they were added.
    #[n(2)]
    pub created_at: Timestamp,
    /// When they last logged in.
    #[n(3)]
    pub login_at: Option<Timestamp>,
    /// The code by which they choose a password.
    #[n(4)]
    pub code: Option<Code>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("role", &self.role).finish_non_exhaustive()
    }
}

/// A code that is good once, for an hour and a few tries.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Code {
    /// Of the code.
    #[n(0)]
    pub print: Print,
    /// When it was made.
    #[n(1)]
    pub made_at: Timestamp,
    /// How often it was got wrong.
    #[n(2)]
    pub tries: u32,
}

impl Code {
    /// A new one.
    pub fn new(code: &str, now: Timestamp) -> Self {
        Self { print: Print::of(code), made_at: now, tries: 0 }
    }

    /// Whether it may be tried.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.tries < CODE_TRIES_MAX && now.since(self.made_at) < CODE_AGE_MAX
    }
}

/// Somebody who is logged in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Session {
    /// Who.
    #[n(0)]
    pub user: UserName,
    /// Since when.
    #[n(1)]
    pub created_at: Timestamp,
    /// When it was last used, to the hour: more often would be a write for each look.
    #[n(2)]
    pub used_at: Timestamp,
}

/// What a program is let in with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Token {
    /// Its name.
    #[n(0)]
    pub name: TokenName,
    /// What it may do.
    #[n(1)]
    pub role: Role,
    /// When it was made.
    #[n(2)]
    pub created_at: Timestamp,
    /// From when on it is not good any more.
    #[n(3)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the hour.
    #[n(4)]
    pub used_at: Option<Timestamp>,
}

super::codec::record!(Print = "digest", User = "user", Session = "login", Token = "API token", Code = "one-time code");

fn of_user(name: &UserName) -> Key {
    Key::new().tail(name.as_str().as_bytes())
}

fn of_print(print: &Print) -> Key {
    Key::new().tail(&print.0)
}

/// A user by name. One whose record is damaged cannot log in, and can be added anew.
pub fn user(view: &impl View, name: &UserName) -> Result<Option<User>, StoreError> {
    passing(get(view, tables::USERS, &of_user(name)))
}

pub(super) fn passing<R>(found: Result<Option<R>, StoreError>) -> Result<Option<R>, StoreError> {
    match found {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => found,
    }
}

/// All users, by name.
pub fn users(view: &impl View) -> Result<Vec<(UserName, User)>, StoreError> {
    let mut found = Vec::new();
    scan::<User>(view, tables::USERS, &Key::new(), |key, user| {
        let name = std::str::from_utf8(key).ok().and_then(|name| UserName::parse(name).ok());
        found.extend(name.map(|name| (name, user)));
        true
    })?;
    Ok(found)
}

/// Whether anybody can log in who may set up everything.
pub fn has_admin(view: &impl View) -> Result<bool, StoreError> {
    Ok(users(view)?.iter().any(|(_, user)| user.role == Role::Admin && user.password.is_some()))
}

/// Adds a user, or writes what changed about one.
pub fn put_user(batch: &Batch, name: &UserName, user: &User) -> Result<(), StoreError> {
    batch.put(tables::USERS, &of_user(name), user)
}

/// Removes a user, and logs them out everywhere.
pub fn remove_user(batch: &Batch, name: &UserName) -> Result<(), StoreError> {
    log_out(batch, name)?;
    batch.delete(tables::USERS, &of_user(name))
}

/// Ends all logins of a user.
pub fn log_out(batch: &Batch, name: &UserName) -> Result<(), StoreError> {
    let mut prints = Vec::new();
    scan::<Session>(batch, tables::SESSIONS, &Key::new(), |key, session| {
        if session.user == *name {
            prints.push(key.to_vec());
        }
        true
    })?;
    prints.into_iter().try_for_each(|print| batch.delete(tables::SESSIONS, &Key(print)))
}

/// A login that is good, with the user as they are now.
pub fn session(view: &impl View, print: &Print, now: Timestamp) -> Result<Option<(Session, User)>, StoreError> {
    let Some(session) = passing(get::<Session>(view, tables::SESSIONS, &of_print(print)))? else { return Ok(None) };
    if !is_session_good(session.created_at, session.used_at, now) {
        return Ok(None);
    }
    let user = user(view, &session.user)?;
    Ok(user.map(|user| (session, user)))
}

/// Notes a login, or that it was used, and forgets those that are not good any more. Somebody who logs in again and again
/// pushes out their own oldest, and neither anybody else's nor the disk's end.
pub fn put_session(batch: &Batch, print: &Print, session: &Session, now: Timestamp) -> Result<(), StoreError> {
    let (mut over, mut own, key) = (Vec::new(), Vec::new(), of_print(print));
    scan::<Session>(batch, tables::SESSIONS, &Key::new(), |found, other| {
        if !is_session_good(other.created_at, other.used_at, now) {
            if over.len() < limits::DELETIONS_PER_COMMIT_MAX {
                over.push(found.to_vec());
            }
        } else if other.user == session.user && *found != *key.0 {
            own.push((other.created_at, found.to_vec()));
        }
        true
    })?;
    own.sort_unstable();
    let most = limits::SESSIONS_PER_USER_MAX - 1;
    over.extend(own.drain(..own.len().saturating_sub(most)).map(|(_, oldest)| oldest));
    over.into_iter().try_for_each(|key| batch.delete(tables::SESSIONS, &Key(key)))?;
    batch.put(tables::SESSIONS, &key, session)
}

/// Begins a login of somebody whose password was verified against this hash, and returns them as they are now. Nothing
/// where they are gone or have another password: hashing takes so long that either may have happened meanwhile.
pub fn log_in(
    batch: &Batch,
    name: &UserName,
    verified: &str,
    print: &Print,
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let Some(user) = user(batch, name)?.filter(|user| user.password.as_deref() == Some(verified)) else {
        return Ok(None);
    };
    let user = User { login_at: Some(now), ..user };
    put_session(batch, print, &Session { user: name.clone(), created_at: now, used_at: now }, now)?;
    put_user(batch, name, &user)?;
    Ok(Some(user))
}

/// Ends a login. Returns whose it was; nothing where none was good.
pub fn end_session(batch: &Batch, print: &Print, now: Timestamp) -> Result<Option<(UserName, Role)>, StoreError> {
    let ended = session(batch, print, now)?;
    batch.delete(tables::SESSIONS, &of_print(print))?;
    Ok(ended.map(|(session, user)| (session.user, user.role)))
}

/// A token that is good.
pub fn token(view: &impl View, print: &Print, now: Timestamp) -> Result<Option<Token>, StoreError> {
    let found = passing(get::<Token>(view, tables::TOKENS, &of_print(print)))?;
    Ok(found.filter(|token| token.expires_at.is_none_or(|at| now < at)))
}

/// All tokens, by name, with those that have expired.
pub fn tokens(view: &impl View) -> Result<Vec<Token>, StoreError> {
    let mut found = Vec::new();
    scan::<Token>(view, tables::TOKENS, &Key::new(), |_, token| {
        found.push(token);
        true
    })?;
    found.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    Ok(found)
}

/// A token's digest by its name.
pub fn token_named(view: &impl View, name: &TokenName) -> Result<Option<Print>, StoreError> {
    passing(get(view, tables::TOKEN_NAMES, &Key::new().tail(name.as_str().as_bytes())))
}

/// Adds a token, whose name must be free, or notes that it was used.
pub fn put_token(batch: &Batch, print: &Print, token: &Token) -> Result<(), StoreError> {
    batch.put(tables::TOKEN_NAMES, &Key::new().tail(token.name.as_str().as_bytes()), print)?;
    batch.put(tables::TOKENS, &of_print(print), token)
}

/// Removes a token. Returns whether there was one.
pub fn remove_token(batch: &Batch, name: &TokenName) -> Result<bool, StoreError> {
    let found = token_named(batch, name)?;
    if let Some(print) = &found {
        batch.delete(tables::TOKENS, &of_print(print))?;
    }
    batch.delete(tables::TOKEN_NAMES, &Key::new().tail(name.as_str().as_bytes()))?;
    Ok(found.is_some())
}

fn setup_key() -> Key {
    Key::new().tail(b"setup code")
}

/// The code that the first administrator is made with.
pub fn setup_code(view: &impl View) -> Result<Option<Code>, StoreError> {
    passing(get(view, tables::META, &setup_key()))
}

/// Notes the code that the first administrator is made with, or that it was used.
pub fn put_setup_code(batch: &Batch, code: Option<&Code>) -> Result<(), StoreError> {
    match code {
        Some(code) => batch.put(tables::META, &setup_key(), code),
        None => batch.delete(tables::META, &setup_key()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Store;

    fn opened() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::default()).unwrap();
        (folder, store)
    }

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    fn somebody(role: Role, password: &str) -> User {
        User { role, password: Some(password.to_owned()), created_at: Timestamp(1), login_at: None, code: None }
    }

    fn write<T: Send + 'static>(
        store: &Store,
        write: impl FnOnce(&Batch) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        store.write::<_, StoreError>(|batch| write(batch)).unwrap()
    }

    #[test]
    fn who_is_gone_or_has_another_password_is_not_let_in_by_a_login_under_way() {
        let (_folder, store) = opened();
        let log_in = |verified: &'static str, print: u8| {
            write(&store, move |batch| log_in(batch, &name("ines"), verified, &Print([print; 32]), Timestamp(9)))
        };
        let session = |print: u8| store.read(|view| session(view, &Print([print; 32]), Timestamp(9))).unwrap();
        assert_eq!(log_in("first", 1), None, "nobody of this name");
        write(&store, |batch| put_user(batch, &name("ines"), &somebody(Role::Admin, "first")));
        // Their role was changed while the password was looked at: what is stored counts.
        write(&store, |batch| put_user(batch, &name("ines"), &somebody(Role::Viewer, "first")));
        let stored = User { login_at: Some(Timestamp(9)), ..somebody(Role::Viewer, "first") };
        assert_eq!(log_in("first", 2), Some(stored.clone()));
        assert_eq!(session(2).map(|(_, user)| user), Some(stored));
        write(&store, |batch| put_user(batch, &name("ines"), &somebody(Role::Viewer, "second")));
        assert_eq!(log_in("first", 3), None, "the password is another");
        write(&store, |batch| remove_user(batch, &name("ines")));
        assert_eq!(log_in("second", 4), None, "they were removed");
        assert_eq!((session(3), session(4)), (None, None));
        assert_eq!(store.read(users).unwrap(), []);
    }

    #[test]
    fn one_more_login_ends_the_oldest_of_the_same_user_and_nobody_elses() {
        let (_folder, store) = opened();
        for user in ["ines", "omar"] {
            write(&store, move |batch| put_user(batch, &name(user), &somebody(Role::Viewer, "hash")));
        }
        let most = u8::try_from(limits::SESSIONS_PER_USER_MAX).unwrap();
        // The lowest digest of all, which a disorderly choice would meet first, is somebody else's.
        let prints = |last: u8| (1..=last).map(|number| Print([u8::MAX - number; 32])).collect::<Vec<_>>();
        let log_in = |user: &'static str, print: Print, at: i64| {
            write(&store, move |batch| log_in(batch, &name(user), "hash", &print, Timestamp(at)))
        };
        log_in("omar", Print([0; 32]), 1);
        for (at, print) in prints(most + 2).into_iter().enumerate() {
            log_in("ines", print, 10 + i64::try_from(at).unwrap());
        }
        let is_in = |print: &Print| store.read(|view| session(view, print, Timestamp(50))).unwrap().is_some();
        assert!(is_in(&Print([0; 32])), "somebody else's stays");
        let left: Vec<bool> = prints(most + 2).iter().map(is_in).collect();
        assert_eq!(left.iter().filter(|is_in| **is_in).count(), usize::from(most));
        assert_eq!(left[..3], [false, false, true], "the oldest two are over");
        // To use one that is there ends none.
        let (third, used) =
            (prints(3)[2], Session { user: name("ines"), created_at: Timestamp(12), used_at: Timestamp(50) });
        write(&store, move |batch| put_session(batch, &third, &used, Timestamp(50)));
        assert_eq!(prints(most + 2).iter().filter(|print| is_in(print)).count(), usize::from(most));
    }
}
