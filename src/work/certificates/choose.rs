//! Which certificate is shown: of files, one that was given or fetched, or the box's own, which is made where there is none.

use std::sync::Arc;

use super::NoCertificate;
use crate::domain::certificate::Origin;
use crate::domain::settings::PUBLIC_URL;
use crate::store::certificates as kept;
use crate::store::records::SecretBytes;
use crate::store::{Batch, Store, StoreError, settings};
use crate::sys::pair::{self, BadPair, Judge, Pair};
use crate::sys::shown::{BadFiles, Chosen, Filed, Files, Trouble};
use crate::sys::tls::{Identity, own_names};

/// Chooses among the certificates that there are: files, one that was given or fetched, the box's own. The second is what is
/// wrong with it. `before` is what was shown until now: what nobody should be shown is taken from files at a start, so that the
/// box runs, and does not replace one that is good.
///
/// # Errors
/// If there is none, or files that were put there cannot be used: whoever put them would not notice otherwise.
pub fn choose(
    store: &Store,
    files: Option<&Files>,
    public_url: Option<&str>,
    judge: &Judge,
    before: Option<&Chosen>,
) -> Result<(Chosen, Option<Trouble>), NoCertificate> {
    let chosen = |certified: Arc<rustls::sign::CertifiedKey>, origin| {
        let anchor = pair::anchor(&certified.cert, judge.trust);
        Chosen { certified, origin, anchor }
    };
    if let Some(files) = files
        && let Some(content) = files.read()?
    {
        return Ok(of_files(files, &content, judge, before)?);
    }
    let mut trouble = None;
    match store.read::<_, StoreError>(kept::given) {
        Ok(Some(given)) => match pair::stored(&given.chain, &given.key) {
            Ok(certified) => return Ok((chosen(certified, given.origin()), None)),
            Err(error) => trouble = Some(format!("the stored certificate cannot be used: {error}")),
        },
        Ok(None) | Err(StoreError::Locked(_)) => {}
        Err(error @ StoreError::Damaged { .. }) => trouble = Some(error.to_string()),
        Err(error) => return Err(error.into()),
    }
    Ok((chosen(identity(store, public_url)?.certified()?, Origin::Own), trouble.map(Trouble::Other)))
}

/// What stands in the files, judged as `set` judges it.
fn of_files(
    files: &Files,
    content: &Filed,
    judge: &Judge,
    before: Option<&Chosen>,
) -> Result<(Chosen, Option<Trouble>), BadFiles> {
    let why = match pair::check(&content.certificate, &content.key, judge) {
        Ok(Pair { certified, anchor, .. }) => return Ok((Chosen { certified, origin: Origin::Files, anchor }, None)),
        Err(why) => why,
    };
    let Ok(certified) = pair::usable(&content.certificate, &content.key) else { return Err(files.refused(why)) };
    // Read anew and the same: it is no worse than before.
    let is_shown = |before: &Chosen| before.origin == Origin::Files && before.certified.cert == certified.cert;
    if !before.is_none_or(is_shown) {
        return Err(files.refused(why));
    }
    let anchor = pair::anchor(&certified.cert, judge.trust);
    Ok((Chosen { certified, origin: Origin::Files, anchor }, Some(Trouble::Unfit(why))))
}

/// The host that SonarQube calls by TLS, as far as somebody said so.
///
/// # Errors
/// If the store cannot tell.
pub fn called_host(store: &Store, public_url: Option<&str>) -> Result<Option<String>, StoreError> {
    let url = match public_url {
        Some(url) => Some(url.to_owned()),
        None => store.read::<_, StoreError>(|view| settings::value(view, PUBLIC_URL))?,
    };
    Ok(url.filter(|url| url.starts_with("https://")).as_deref().and_then(host).map(str::to_owned))
}

/// That a certificate in files is shown that would not be taken from anybody.
pub fn unfit(files: &Files, why: &BadPair) -> String {
    format!("the certificate in {} is shown, although it should not be: {why}", files.certificate.display())
}

/// The box's own certificate, made at the first start; one of this run alone while its private key cannot be read.
fn identity(store: &Store, public_url: Option<&str>) -> Result<Identity, NoCertificate> {
    let is_locked = store.locked().is_some();
    let (stored, public_url) = store.read::<_, StoreError>(|view| {
        let secret = |purpose| if is_locked { Ok(None) } else { settings::secret(view, purpose) };
        let (certificate, key) = (secret(settings::CERTIFICATE)?, secret(KEY)?);
        let url = match public_url {
            Some(url) => Some(url.to_owned()),
            None => settings::value(view, PUBLIC_URL)?,
        };
        Ok((certificate.zip(key), url))
    })?;
    if let Some((certificate, key)) = stored {
        return Ok(Identity { certificate: certificate.as_bytes().to_vec(), key: key.as_bytes().to_vec() });
    }
    let identity = Identity::self_signed(own_names(public_url.as_deref().and_then(host)))?;
    if !is_locked {
        let secrets = SecretsOf::from(&identity);
        store.write::<_, StoreError>(move |batch| secrets.write(batch))?;
        tracing::info!(
            "made a self-signed certificate; SonarQube does not trust it by itself, and browsers ask before they do"
        );
    }
    Ok(identity)
}

/// The box's own certificate as it is stored.
pub(super) struct SecretsOf(SecretBytes, SecretBytes);

impl SecretsOf {
    pub(super) fn from(identity: &Identity) -> Self {
        Self(SecretBytes::new(identity.certificate.clone()), SecretBytes::new(identity.key.clone()))
    }

    pub(super) fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        settings::set_secret(batch, settings::CERTIFICATE, &self.0)?;
        settings::set_secret(batch, KEY, &self.1)
    }
}

const KEY: &str = "tls/webhook/key";

/// The host of an address, without port and brackets.
fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    }
}
