//! Fetches a certificate from an ACME server (RFC 8555). The protocol is a library's; the way to the server is ours, with
//! the same roots, authorities and proxies as every other call, and so are the proofs. It blocks the thread that asks for
//! it, for minutes at most; what is under way survives nothing and is begun anew.

pub mod challenges;
mod client;
mod trouble;

use std::sync::Arc;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use zeroize::Zeroizing;

use self::challenges::{Challenges, Placed};
pub use self::client::{Client, Stop};
pub use self::trouble::{Kind, Trouble};
use super::loops;
use crate::domain::limits::{ACME_TRY_MAX, CALL_SLACK};
use crate::domain::time::Timestamp;

/// Let's Encrypt's directory.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// What is asked for.
pub struct Ask<'a> {
    /// The server's directory.
    pub directory: &'a str,
    /// The names of the certificate.
    pub domains: &'a [String],
    /// Mail addresses for the server.
    pub contact: &'a [String],
    /// Whether the proof is by HTTP on port 80, and not by TLS on port 443.
    pub by_http: bool,
    /// The account at the authority that a new one is bound to, and its key.
    pub bound_to: Option<(&'a str, &'a [u8])>,
    /// The account as it was kept; without one it is made.
    pub account: Option<&'a str>,
    /// What to do where the server's look at this box fails.
    pub reach: &'a str,
}

/// What came of it.
pub struct Issued {
    /// The chain, PEM.
    pub chain: String,
    /// Its key, PEM: a new one each time.
    pub key: Zeroizing<String>,
}

/// What the one who asks does meanwhile.
pub trait Asker {
    /// Keeps the account that was made.
    ///
    /// # Errors
    /// If it cannot be kept; then nothing is fetched with it.
    fn keep(&mut self, account: &str) -> Result<(), Trouble>;

    /// Whether to go on, now that the server has told what time it is.
    ///
    /// # Errors
    /// If not.
    fn go_on(&mut self, theirs: Option<Timestamp>) -> Result<(), Trouble>;
}

/// Fetches a certificate.
///
/// # Errors
/// If none came, with the server's own words.
pub fn issue(
    ask: &Ask,
    client: &Client,
    challenges: &Arc<Challenges>,
    asker: &mut dyn Asker,
) -> Result<Issued, Trouble> {
    let _step = loops::within(ACME_TRY_MAX + CALL_SLACK);
    // Only for its clock: calls go out on this thread, one after the other.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| Trouble::later(format!("no attempt could be begun: {error}"), ""))?;
    // The library's waits end with the time limit here, and calls, which block, with that of the client.
    client.begin(ACME_TRY_MAX);
    runtime.block_on(async {
        match tokio::time::timeout(ACME_TRY_MAX, attempt(ask, client, challenges, asker)).await {
            Ok(done) => done,
            Err(_) => Err(client.slow()),
        }
    })
}

async fn attempt(
    ask: &Ask<'_>,
    client: &Client,
    challenges: &Arc<Challenges>,
    asker: &mut dyn Asker,
) -> Result<Issued, Trouble> {
    let told = |error: Error| client.trouble(error, ask.reach);
    let account = account(ask, client, asker).await?;
    asker.go_on(client.date())?;
    let names: Vec<_> = ask.domains.iter().map(|name| Identifier::Dns(name.clone())).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await.map_err(told)?;
    let placed = prove(ask, client, challenges, &mut order).await?;
    let patience = RetryPolicy::new().timeout(ACME_TRY_MAX);
    match order.poll_ready(&patience).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(refusal(ask, client, &mut order, None).await),
        Err(Error::Timeout(_)) => return Err(client.slow()),
        Err(error) => return Err(refusal(ask, client, &mut order, Some(error)).await),
    }
    drop(placed);
    let unmade = |error: rcgen::Error| Trouble::later(format!("the request could not be made: {error}"), "report this");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(unmade)?;
    let mut wanted = rcgen::CertificateParams::new(ask.domains).map_err(unmade)?;
    wanted.distinguished_name = rcgen::DistinguishedName::new();
    let request = wanted.serialize_request(&key).map_err(unmade)?;
    order.finalize_csr(request.der()).await.map_err(told)?;
    let chain = order.poll_certificate(&patience).await.map_err(told)?;
    Ok(Issued { chain, key: Zeroizing::new(key.serialize_pem()) })
}

/// The account that was kept, or a new one.
async fn account(ask: &Ask<'_>, client: &Client, asker: &mut dyn Asker) -> Result<Account, Trouble> {
    let told = |error: Error| client.trouble(error, ask.reach);
    let builder = Account::builder_with_http(Box::new(client.clone()));
    if let Some(kept) = ask.account {
        let kept: AccountCredentials = serde_json::from_str(kept)
            .map_err(|_| Trouble::new(Kind::NoAccount, "the account that was kept cannot be read", ""))?;
        return builder.from_credentials(kept).await.map_err(told);
    }
    let contact: Vec<_> = ask.contact.iter().map(|mail| format!("mailto:{mail}")).collect();
    let contact: Vec<_> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let bound = ask.bound_to.map(|(id, key)| ExternalAccountKey::new(id.to_owned(), key));
    let (account, made) = builder.create(&new, ask.directory.to_owned(), bound.as_ref()).await.map_err(told)?;
    let made = Zeroizing::new(serde_json::to_string(&made).expect("an account is written as JSON"));
    asker.keep(&made)?;
    Ok(account)
}

/// Lays out the proofs and tells the server of them.
async fn prove(
    ask: &Ask<'_>,
    client: &Client,
    challenges: &Arc<Challenges>,
    order: &mut Order,
) -> Result<Vec<Placed>, Trouble> {
    let told = |error: Error| client.trouble(error, ask.reach);
    let kind = if ask.by_http { ChallengeType::Http01 } else { ChallengeType::TlsAlpn01 };
    let mut placed = Vec::new();
    let mut authorizations = order.authorizations();
    let mut asked = 0;
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(told)?;
        asked += 1;
        if asked > ask.domains.len() {
            let text = format!("{} wants more names proven than it was asked for", client.host());
            return Err(Trouble::new(Kind::Refused, text, "see who answers there"));
        }
        let name = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => {
                let text = format!("{} gives {name} no chance to prove itself ({status:?})", client.host());
                return Err(Trouble::later(text, "it is tried again by itself"));
            }
        }
        let Some(mut challenge) = authorization.challenge(kind.clone()) else {
            let (wanted, other) = if ask.by_http { ("http-01", "tls-alpn-01") } else { ("tls-alpn-01", "http-01") };
            let text = format!("{} offers no {wanted} for {name}", client.host());
            return Err(Trouble::later(text, format!("hydrophone certificate acme with --challenge {other}")));
        };
        let proof = challenge.key_authorization();
        placed.push(if ask.by_http {
            challenges.place_http(&challenge.token, proof.as_str())
        } else {
            challenges.place_tls(&name, proof.digest().as_ref()).map_err(|error| {
                Trouble::later(format!("the proof for {name} could not be made: {error}"), "report this")
            })?
        });
        challenge.set_ready().await.map_err(told)?;
    }
    Ok(placed)
}

/// Why an order was refused: what the server found when it looked at this box.
async fn refusal(ask: &Ask<'_>, client: &Client, order: &mut Order, error: Option<Error>) -> Trouble {
    // What it says of the order; the look at the challenges may fail, and says more.
    let general = error.map(|error| client.trouble(error, ask.reach));
    if let Some(general) = general.as_ref().filter(|general| general.kind != Kind::Refused) {
        return general.clone();
    }
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            break;
        }
        let name = authorization.identifier().to_string();
        if let Some(problem) = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return client.refused(&name, problem, ask.reach);
        }
    }
    general.unwrap_or_else(|| Trouble::new(Kind::Refused, format!("{} refused the names", client.host()), ask.reach))
}
