//! The certificate that the webhook listener and the page show, and how it is exchanged.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};

use crate::admin::answers::Sent;
use crate::admin::guard::remark;
use crate::admin::{Admin, Problem, Shared, shapes};
use crate::domain::certificate::Origin;
use crate::domain::limits::ACME_DOMAINS_MAX;
use crate::domain::secret::SecretText;
use crate::domain::time::Timestamp;
use crate::store::certificates::Acme;
use crate::sys::acme::LETS_ENCRYPT;
use crate::sys::trust::Authorities;
use crate::sys::{clock, pair, reach, tls};
use crate::work::certificates::{Certificates, Declined, Fetching};

/// `GET /certificate`.
pub(in crate::admin) async fn show(State(admin): Shared) -> Result<Json<shapes::Certificate>, Problem> {
    Ok(Json(admin.run(present).await?))
}

/// `PUT /certificate`.
pub(in crate::admin) async fn set(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewCertificate>,
) -> Result<Json<shapes::CertificateChange>, Problem> {
    let notes = change(&admin, move |held| held.set(&new.certificate, &new.key)).await?;
    changed(&admin, notes).await
}

/// `POST /certificate/self-signed`.
pub(in crate::admin) async fn make_own(State(admin): Shared) -> Result<Json<shapes::CertificateChange>, Problem> {
    let notes = change(&admin, Certificates::make_own).await?;
    changed(&admin, notes).await
}

/// `GET /certificate/acme`.
pub(in crate::admin) async fn fetching(State(admin): Shared) -> Result<Json<shapes::Fetching>, Problem> {
    let told = admin.run(|admin| Ok(held(admin)?.fetching()?)).await?;
    told.map(|told| Json(fetching_told(told))).ok_or_else(|| declined(Declined::NotFetched))
}

/// `PUT /certificate/acme`.
pub(in crate::admin) async fn fetch(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewFetching>,
) -> Result<Json<shapes::Fetching>, Problem> {
    let acme = asked_for(new)?;
    remark(&format!("{} from {}", acme.domains.join(", "), acme.directory));
    let notes = change(&admin, move |held| held.fetch(acme)).await?;
    let mut told = fetching(State(admin)).await?;
    told.notes = notes;
    Ok(told)
}

/// `POST /certificate/renew`.
pub(in crate::admin) async fn renew(State(admin): Shared) -> Result<Json<shapes::Fetching>, Problem> {
    change(&admin, |held| held.renew().map(|()| Vec::new())).await?;
    fetching(State(admin)).await
}

fn held(admin: &Admin) -> Result<&Arc<Certificates>, Problem> {
    admin.certificates.get().ok_or_else(|| Problem::conflict("the certificate is known while the daemon runs"))
}

/// Changes something, in turn with all else that blocks.
async fn change(
    admin: &Arc<Admin>,
    change: impl FnOnce(&Certificates) -> Result<Vec<String>, Declined> + Send + 'static,
) -> Result<Vec<String>, Problem> {
    admin.run(|admin| change(held(admin)?).map_err(declined)).await
}

async fn changed(admin: &Arc<Admin>, notes: Vec<String>) -> Result<Json<shapes::CertificateChange>, Problem> {
    let (certificate, hidden_by) = admin.run(|admin| Ok((present(admin)?, held(admin)?.hidden_by()))).await?;
    remark(&format!("fingerprint {}", certificate.fingerprint));
    Ok(Json(shapes::CertificateChange { certificate, hidden_by, notes }))
}

fn declined(why: Declined) -> Problem {
    match why {
        Declined::Pair(why) => {
            let field = if why.is_of_key() { "key" } else { "certificate" };
            Problem::unfit(why.to_string()).remedy(why.remedy()).at(field)
        }
        Declined::Nowhere => {
            Problem::conflict(why.to_string()).remedy("start it without --webhook-plain, or with --admin-listen ADDR")
        }
        Declined::NoDoor(text) => {
            let (text, remedy) = text.split_once("; ").unwrap_or((text, ""));
            Problem::conflict(text).remedy(remedy).at("challenge")
        }
        Declined::NotFetched => {
            Problem::missing(why.to_string()).remedy("hydrophone certificate acme --domain NAME --agree-to-terms")
        }
        Declined::NotYet(_) => Problem::conflict(why.to_string()),
        Declined::Store(error) => error.into(),
        Declined::Box(why) => Problem::internal(why),
    }
}

/// What is shown, as the API tells it.
pub(in crate::admin) fn present(admin: &Admin) -> Result<shapes::Certificate, Problem> {
    let no_certificate = || Problem::missing("this box has no certificate: neither listener speaks TLS by itself");
    let held = admin.certificates.get().ok_or_else(no_certificate)?;
    let chosen = held.shown().ok_or_else(no_certificate)?.chosen();
    let shown = chosen.certified.cert.first().ok_or_else(no_certificate)?;
    let read = tls::describe(shown).ok_or_else(|| Problem::internal("the box's own certificate cannot be read"))?;
    let mut listeners = Vec::new();
    if let Some(address) = admin.webhook_address.filter(|_| admin.webhook_tls) {
        listeners.push(shapes::CertificateUse { what: "webhooks".to_owned(), address: address.to_string() });
    }
    if let Some(address) = admin.page_address {
        listeners.push(shapes::CertificateUse { what: "page".to_owned(), address: address.to_string() });
    }
    let time = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
    let ends = time(read.not_after);
    // Without it the rest is still worth telling.
    let fetching = held.fetching().unwrap_or_default();
    let (authority, last) = (held.authority(), chosen.certified.cert.last());
    let last = last.filter(|last| tls::describe(last).is_some_and(|told| told.self_signed));
    Ok(shapes::Certificate {
        subject: read.subject,
        issuer: read.issuer,
        self_signed: read.self_signed,
        names: read.names,
        fingerprint: read.fingerprint,
        not_before: time(read.not_before).to_string(),
        not_after: ends.to_string(),
        days_left: i64::try_from(ends.since(clock::now()).as_secs() / 86_400).unwrap_or(i64::MAX),
        listeners,
        origin: chosen.origin.word().to_owned(),
        why: why(chosen.origin, admin.store.locked().is_some(), fetching.as_ref()),
        anchor: chosen.anchor.word().to_owned(),
        key: pair::kind(shown),
        pem: pair::pem(&chosen.certified.cert),
        authority: authority.map(|authority| authority.name),
        ca_pem: last.map(|last| pair::pem(std::slice::from_ref(last))),
        misnamed: held.misnamed().map(|(text, remedy)| format!("{text}; {remedy}")),
        way: admin.way_told(None),
        acme: fetching.map(fetching_told),
    })
}

fn why(origin: Origin, is_locked: bool, fetching: Option<&Fetching>) -> String {
    let why = match origin {
        Origin::Files => "of files that an administrator put on this box, which stand before all else",
        Origin::Given => "given by `certificate set`",
        Origin::Acme => "fetched by ACME",
        Origin::Own if is_locked => {
            "made by this box for this run alone, as those that it has cannot be read without its key"
        }
        Origin::Own => "made by this box itself",
    };
    match fetching.filter(|told| origin != Origin::Acme && told.fetched.is_none()) {
        Some(told) => format!("{why}; one for {} is to be fetched by ACME", told.acme.domains.join(", ")),
        None => why.to_owned(),
    }
}

fn fetching_told(told: Fetching) -> shapes::Fetching {
    let Fetching { acme, tried, working, next, fetched, reach } = told;
    let state = match (working, &tried.problem, &fetched) {
        (true, ..) => "working",
        (false, Some(_), _) if tried.tries().failed > 0 => "failed",
        (false, _, Some(_)) => "fetched",
        (false, _, None) => "waiting",
    };
    shapes::Fetching {
        directory: acme.directory.clone(),
        domains: acme.domains.clone(),
        challenge: if acme.by_http { HTTP_01 } else { TLS_ALPN_01 }.to_owned(),
        state: state.to_owned(),
        tried_at: tried.tries().last().map(|at| at.to_string()),
        problem: tried.problem,
        remedy: tried.remedy,
        next_at: next.to_string(),
        fetched_at: fetched.map(|(at, _)| at.to_string()),
        reach,
        notes: Vec::new(),
    }
}

const TLS_ALPN_01: &str = "tls-alpn-01";
const HTTP_01: &str = "http-01";

/// Reads what is to be fetched.
fn asked_for(new: shapes::NewFetching) -> Result<Acme, Problem> {
    if !new.agree_to_terms {
        return Err(Problem::bad("nothing is fetched unless somebody agrees to the terms of the server's operator")
            .remedy("read them, then say so with --agree-to-terms")
            .at("agree_to_terms"));
    }
    let domains: Vec<_> = new.domains.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    if domains.is_empty() || domains.len() > ACME_DOMAINS_MAX {
        return Err(Problem::bad(format!("a certificate has 1 to {ACME_DOMAINS_MAX} names")).at("domains"));
    }
    for name in &domains {
        check_name(name).map_err(|why| Problem::bad(format!("{name:?} {why}")).at("domains"))?;
    }
    let given = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let directory = given(new.directory).unwrap_or_else(|| LETS_ENCRYPT.to_owned());
    let uri = reach::address(&directory).map_err(|error| Problem::bad(error.to_string()).at("directory"))?;
    if uri.scheme_str() != Some("https") {
        return Err(Problem::bad("an ACME server's directory begins with https://").at("directory"));
    }
    let contact: Vec<_> =
        new.contact.iter().map(|mail| mail.trim().to_owned()).filter(|mail| !mail.is_empty()).collect();
    if contact.iter().any(|mail| !mail.contains('@') || mail.contains([' ', ',', '?', '\n'])) {
        return Err(Problem::bad("a contact is a mail address").at("contact"));
    }
    let secret =
        |text: Option<SecretText>| text.map(|text| SecretText::from(text.trim())).filter(|text| !text.is_empty());
    let (ca_pem, proxy) = (given(new.ca_pem), secret(new.proxy));
    if let Some(pem) = &ca_pem {
        let bad = |error| Problem::bad(format!("the file of authorities {error}")).at("ca_pem");
        Authorities::parse(pem).map(drop).map_err(bad)?;
    }
    reach::proxy(proxy.as_deref(), &uri).map_err(|error| Problem::bad(error.to_string()).at("proxy"))?;
    let by_http = match new.challenge.as_deref().unwrap_or(TLS_ALPN_01) {
        TLS_ALPN_01 => false,
        HTTP_01 => true,
        other => {
            let text = format!("{other:?} is no challenge of this box; they are: {TLS_ALPN_01}, {HTTP_01}");
            return Err(Problem::bad(text).at("challenge"));
        }
    };
    let bound_to = match (given(new.eab_id), secret(new.eab_key)) {
        (None, None) => None,
        (Some(id), Some(key)) => {
            let bad = |_| Problem::bad("the key of the external account is no base64url").at("eab_key");
            Some((id, EAB_KEY.decode(key.trim_end_matches('=')).map_err(bad)?.into()))
        }
        _ => return Err(Problem::bad("an external account has both an id and a key").at("eab_key")),
    };
    Ok(Acme { directory, domains, contact, ca_pem, proxy, by_http, bound_to, agreed_at: clock::now() })
}

/// As operators hand it out, with or without its filling.
const EAB_KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.starts_with("*.") {
        return Err("stands for many names, which neither of this box's challenges proves; name each");
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err("is an address; a certificate is fetched for a name of the DNS");
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.len() <= 253 && name.contains('.') && name.split('.').all(is_label) {
        Ok(())
    } else {
        Err("is no whole name of the DNS, such as hooks.example.com; names in other scripts are written as xn--…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(domains: &[&str]) -> shapes::NewFetching {
        let domains = domains.iter().map(|&name| name.to_owned()).collect();
        shapes::NewFetching { domains, agree_to_terms: true, ..shapes::NewFetching::default() }
    }

    fn field(new: shapes::NewFetching) -> Option<String> {
        asked_for(new).err().and_then(|problem| problem.field().map(str::to_owned))
    }

    #[test]
    fn names_are_taken_that_a_server_can_look_at() {
        let acme = asked_for(new(&["Hooks.Example.com", "xn--bcher-kva.example"])).unwrap();
        assert_eq!(acme.domains, ["hooks.example.com", "xn--bcher-kva.example"]);
        assert_eq!((acme.directory.as_str(), acme.by_http), (LETS_ENCRYPT, false));
        for bad in
            ["*.example.com", "192.0.2.7", "::1", "localhost", "a..b", "-a.example", "bücher.example", "", "a b.c"]
        {
            assert_eq!(field(new(&[bad])).as_deref(), Some("domains"), "{bad}");
        }
        assert_eq!(field(new(&[])).as_deref(), Some("domains"));
    }

    #[test]
    fn what_cannot_be_used_is_named_by_its_field() {
        let with = |change: fn(&mut shapes::NewFetching)| {
            let mut new = new(&["hooks.example.com"]);
            change(&mut new);
            field(new)
        };
        let given = |text: &str| Some(text.to_owned());
        assert_eq!(with(|new| new.agree_to_terms = false), given("agree_to_terms"));
        assert_eq!(with(|new| new.directory = Some("http://ca.example/dir".into())), given("directory"));
        assert_eq!(with(|new| new.contact = vec!["ines".into()]), given("contact"));
        assert_eq!(with(|new| new.ca_pem = Some("nothing".into())), given("ca_pem"));
        assert_eq!(with(|new| new.proxy = Some("socks5://p".into())), given("proxy"));
        assert_eq!(with(|new| new.challenge = Some("dns-01".into())), given("challenge"));
        assert_eq!(with(|new| new.eab_id = Some("kid".into())), given("eab_key"));
        assert_eq!(with(|new| (new.eab_id, new.eab_key) = (Some("kid".into()), Some("a+b".into()))), given("eab_key"));
        assert_eq!(with(|new| (new.eab_id, new.eab_key) = (Some("kid".into()), Some("YWJj".into()))), None);
    }
}
