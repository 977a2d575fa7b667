//! What the store keeps of the listeners' certificate beside the box's own: one that was given or fetched, how it is
//! fetched, the account for that, and what was tried. All of it is sealed: keys are in most of it.

use minicbor::{Decode, Encode};

use super::records::SecretBytes;
use super::tables::Key;
use super::{Batch, StoreError, View, secrets, settings};
use crate::domain::certificate::{Origin, Tries};
use crate::domain::secret::SecretText;
use crate::domain::time::Timestamp;

/// A certificate that stands before the box's own.
#[derive(Clone, Encode, Decode)]
pub struct Given {
    /// Whether it was fetched by ACME.
    #[n(0)]
    pub fetched: bool,
    /// The chain, PEM.
    #[n(1)]
    pub chain: String,
    /// The key, PEM.
    #[n(2)]
    pub key: String,
    /// Since when it is there.
    #[n(3)]
    pub at: Timestamp,
}

impl Given {
    /// Where it is from.
    pub fn origin(&self) -> Origin {
        if self.fetched { Origin::Acme } else { Origin::Given }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("fetched", &self.fetched).field("at", &self.at).finish_non_exhaustive()
    }
}

/// How a certificate is fetched.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Acme {
    /// The server's directory.
    #[n(0)]
    pub directory: String,
    /// The names of the certificate.
    #[n(1)]
    pub domains: Vec<String>,
    /// Mail addresses for the server.
    #[n(2)]
    pub contact: Vec<String>,
    /// Authorities to believe for the server, PEM.
    #[n(3)]
    pub ca_pem: Option<String>,
    /// The proxy to it.
    #[n(4)]
    pub proxy: Option<SecretText>,
    /// Whether the proof is asked for by HTTP on port 80, and not by TLS on port 443.
    #[n(5)]
    pub by_http: bool,
    /// The account at the authority that this one is bound to, and its key.
    #[n(6)]
    pub bound_to: Option<(String, minicbor::bytes::ByteVec)>,
    /// When somebody agreed to the server's terms.
    #[n(7)]
    pub agreed_at: Timestamp,
}

impl Drop for Acme {
    fn drop(&mut self) {
        if let Some((_, key)) = &mut self.bound_to {
            zeroize::Zeroize::zeroize(&mut **key);
        }
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The proxy may have a password in it.
        f.debug_struct("Acme")
            .field("directory", &self.directory)
            .field("domains", &self.domains)
            .finish_non_exhaustive()
    }
}

/// How attempts to fetch one went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Tried {
    #[n(0)]
    at: Vec<Timestamp>,
    #[n(1)]
    failed: u32,
    #[n(2)]
    not_before: Option<Timestamp>,
    /// Why the last one failed.
    #[n(3)]
    pub problem: Option<String>,
    /// What to do about it.
    #[n(4)]
    pub remedy: Option<String>,
    #[n(5)]
    #[cbor(default)]
    by_hand: Vec<Timestamp>,
}

impl Tried {
    /// With why the last one failed.
    pub fn new(tries: &Tries, problem: Option<(String, String)>) -> Self {
        let (problem, remedy) = problem.unzip();
        let Tries { at, by_hand, failed, not_before } = tries.clone();
        Self { at, failed, not_before, problem, remedy, by_hand }
    }

    /// What is to be decided with.
    pub fn tries(&self) -> Tries {
        let Self { at, by_hand, failed, not_before, .. } = self.clone();
        Tries { at, by_hand, failed, not_before }
    }
}

/// Where they are, as a secret's purpose.
const GIVEN: &str = "tls/given";
const ACME: &str = "tls/acme";
const ACCOUNT: &str = "tls/acme/account";
const TRIED: &str = "tls/acme/tried";

/// The form of what is sealed; a member may be added without another one.
const FORM: u8 = 1;

fn read<T: for<'b> Decode<'b, ()>>(view: &impl View, purpose: &str) -> Result<Option<T>, StoreError> {
    let Some(secret) = settings::secret(view, purpose)? else { return Ok(None) };
    let bad = StoreError::Damaged { what: "certificate" };
    match secret.as_bytes().split_first() {
        Some((&FORM, value)) => minicbor::decode(value).map(Some).map_err(|_| bad),
        _ => Err(bad),
    }
}

fn write<T: Encode<()>>(batch: &Batch, purpose: &str, value: &T) -> Result<(), StoreError> {
    let mut bytes = vec![FORM];
    minicbor::encode(value, &mut bytes).expect("encoding to memory cannot fail");
    settings::set_secret(batch, purpose, &SecretBytes::new(bytes))
}

fn forget(batch: &Batch, purpose: &str) -> Result<(), StoreError> {
    secrets::delete(batch, &Key::new().tail(purpose.as_bytes()))
}

/// The certificate that stands before the box's own.
pub fn given(view: &impl View) -> Result<Option<Given>, StoreError> {
    read(view, GIVEN)
}

/// Puts one there, or takes it away.
pub fn set_given(batch: &Batch, given: Option<&Given>) -> Result<(), StoreError> {
    given.map_or_else(|| forget(batch, GIVEN), |given| write(batch, GIVEN, given))
}

/// How one is fetched.
pub fn acme(view: &impl View) -> Result<Option<Acme>, StoreError> {
    read(view, ACME)
}

/// Says how one is fetched, or that none is. What was tried before counts on: a server does not forget.
pub fn set_acme(batch: &Batch, acme: Option<&Acme>) -> Result<(), StoreError> {
    acme.map_or_else(|| forget(batch, ACME), |acme| write(batch, ACME, acme))
}

/// The account at the ACME server, as its client writes it.
pub fn account(view: &impl View) -> Result<Option<SecretBytes>, StoreError> {
    settings::secret(view, ACCOUNT)
}

/// Keeps the account, or forgets it.
pub fn set_account(batch: &Batch, account: Option<&SecretBytes>) -> Result<(), StoreError> {
    account.map_or_else(|| forget(batch, ACCOUNT), |account| settings::set_secret(batch, ACCOUNT, account))
}

/// What was tried.
pub fn tried(view: &impl View) -> Result<Tried, StoreError> {
    Ok(read(view, TRIED)?.unwrap_or_default())
}

/// Notes what was tried.
pub fn set_tried(batch: &Batch, tried: &Tried) -> Result<(), StoreError> {
    write(batch, TRIED, tried)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{FILE_NAME, Store};
    use crate::sys::bell::Bell;

    #[test]
    fn what_is_kept_reads_back_and_none_of_it_lies_open() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::new(Bell::default())).unwrap();
        let given =
            Given { fetched: true, chain: "PUBLIC-CHAIN".into(), key: "PRIVATE-KEY-OF-TLS".into(), at: Timestamp(7) };
        let acme = Acme {
            directory: "https://acme.example/dir".into(),
            domains: vec!["hooks.example".into()],
            contact: vec![],
            ca_pem: None,
            proxy: Some("http://box:hunter2-hunter2@proxy.example:3128".into()),
            by_http: false,
            bound_to: Some(("kid".into(), b"MAC-KEY-OF-EAB".to_vec().into())),
            agreed_at: Timestamp(5),
        };
        let tried = Tried::new(
            &Tries { at: vec![Timestamp(1)], by_hand: vec![Timestamp(2)], failed: 2, not_before: Some(Timestamp(9)) },
            Some(("no".into(), "yes".into())),
        );
        let written = (given.clone(), acme.clone(), tried.clone());
        store
            .write::<_, StoreError>(move |batch| {
                set_given(batch, Some(&written.0))?;
                set_acme(batch, Some(&written.1))?;
                set_account(batch, Some(&SecretBytes::new(b"ACCOUNT-KEY".to_vec())))?;
                set_tried(batch, &written.2)
            })
            .unwrap();
        store
            .read::<_, StoreError>(|view| {
                let found = super::given(view)?.unwrap();
                assert_eq!(
                    (found.key.as_str(), found.origin(), found.at),
                    ("PRIVATE-KEY-OF-TLS", Origin::Acme, Timestamp(7))
                );
                assert_eq!((super::acme(view)?, super::tried(view)?), (Some(acme), tried));
                assert_eq!(super::account(view)?.unwrap().as_bytes(), b"ACCOUNT-KEY");
                Ok(())
            })
            .unwrap();
        store.write::<_, StoreError>(|batch| set_given(batch, None).and_then(|()| set_acme(batch, None))).unwrap();
        let left = store.read::<_, StoreError>(|view| Ok((super::given(view)?.is_none(), super::acme(view)?))).unwrap();
        assert_eq!(left, (true, None));
        store.close();
        let bytes = std::fs::read(folder.path().join(FILE_NAME)).unwrap();
        for secret in ["PRIVATE-KEY-OF-TLS", "hunter2", "MAC-KEY-OF-EAB", "ACCOUNT-KEY"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
        assert!(!format!("{given:?}").contains("PRIVATE"));
    }
}
