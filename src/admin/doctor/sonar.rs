//! The way to one SonarQube, hop by hop, what its token is worth, and what it says of the way back.

use std::time::Duration;

use super::Notes;
use crate::admin::{Admin, shapes};
use crate::domain::ids::{OrganizationKey, ProjectKey};
use crate::domain::limits::{CLOCK_DIFFERENCE_MAX, TOKEN_ENDS_SOON};
use crate::domain::time::Timestamp;
use crate::sonar::FetchError;
use crate::sonar::client::{Client, Token};
use crate::store::records::{Hook, Source};
use crate::store::{StoreError, catalogue};
use crate::sys::reach::{self, Way, is_private_url};
use crate::sys::trust::Authorities;
use crate::sys::{chain, clock};
use crate::work::sources::connection;

pub(super) fn look(admin: &Admin, source: &Source, notes: &Notes) {
    let way = match reach::way(&source.url, source.proxy.as_deref()) {
        Ok(way) => way,
        Err(error) => return notes.fault("name", error.to_string(), "add the source anew with a right address"),
    };
    if !hops(admin, source, &way, notes) {
        return;
    }
    let token = match admin.store.read::<_, StoreError>(|view| catalogue::token(view, &source.name)) {
        Ok(Some(token)) => token,
        Ok(None) => return notes.unknown("token", "there is none"),
        Err(error) => return notes.unknown("token", format!("it cannot be read: {error}")),
    };
    let renew = format!("make a new one in Sonar, then: hydrophone source token {} --token-file FILE", source.name);
    let Ok(token) = Token::parse(token.as_text()) else {
        return notes.fault("token", "it has a character that no token has", renew);
    };
    let kind = kind(token.reveal());
    let client = match Client::new(connection(source, token), admin.work.sources.trust()) {
        Ok(client) => client,
        Err(error) => return notes.fault("tls", error.to_string(), "add the source anew with what is right"),
    };
    if !the_token(&client, kind, &renew, notes) {
        return;
    }
    permissions(admin, &client, source, notes);
    way_back(admin, &client, source, notes);
}

/// Name, proxy and certificates; whether it is worth going on.
fn hops(admin: &Admin, source: &Source, way: &Way, notes: &Notes) -> bool {
    if let Some(proxy) = &way.proxy {
        match chain::connect(&proxy.host, proxy.port) {
            Ok(_) => notes.ok("proxy", format!("{}:{} takes connections", proxy.host, proxy.port)),
            Err(error) => {
                notes.fault("proxy", error.to_string(), "correct the source's --proxy, or HTTPS_PROXY and NO_PROXY");
                return false;
            }
        }
    } else {
        match chain::connect(&way.host, way.port) {
            Ok(stream) => {
                let place = stream.peer_addr().map_or_else(|_| way.host.clone(), |address| address.to_string());
                notes.ok("name", format!("{} leads to {place}, which takes connections", way.host));
            }
            Err(error @ chain::NoChain::Name(_)) => {
                let remedy = "look at the address and at this box's DNS: resolvectl status, /etc/resolv.conf";
                notes.fault("name", error.to_string(), remedy);
                return false;
            }
            Err(error) => {
                let remedy = "look for a firewall on the way; where only a proxy leads out, give the source --proxy";
                notes.fault("name", error.to_string(), remedy);
                return false;
            }
        }
    }
    if !way.tls {
        let uri_is_own = way.host == "localhost" || way.host.starts_with("127.") || way.host == "::1";
        if uri_is_own {
            notes.ok("tls", "plain http, on this machine alone");
        } else {
            notes.warning("tls", "plain http: whoever is on the way can read the token", "have the Server speak https");
        }
        return true;
    }
    if way.proxy.as_ref().is_some_and(|proxy| proxy.tls) {
        notes.unknown("tls", "certificates are not looked at through a proxy that speaks TLS itself");
        return true;
    }
    let authorities =
        source.ca_pem.as_deref().map_or(Ok(Authorities::default()), Authorities::parse).unwrap_or_default();
    match chain::look(way, admin.work.sources.trust(), &authorities) {
        Err(error) => {
            notes.fault("tls", error.to_string(), "see what listens at that address, and what stands on the way");
            false
        }
        Ok(chain) => {
            if let Some((text, remedy)) = chain.fault(&way.host, clock::now().0 / 1000) {
                notes.fault("tls", text, remedy);
                return false;
            }
            let own = chain.shown.first();
            let until = own.map_or(Timestamp(0), |own| Timestamp(own.not_after.saturating_mul(1000)));
            let issuer = own.map_or("", |own| own.issuer.as_str());
            notes.ok("tls", format!("the certificate is trusted: issued by \"{issuer}\", valid until {until}"));
            true
        }
    }
}

/// What kind of token it is, by how it begins.
fn kind(token: &str) -> &'static str {
    match token.split('_').next() {
        Some("squ") => "a user's token",
        Some("sqp") => "a token to analyse one project",
        Some("sqa") => "a token to analyse all projects",
        Some("sqco") => "an organization's scoped token",
        _ => "a token of a kind that does not show",
    }
}

fn the_token(client: &Client, kind: &str, renew: &str, notes: &Notes) -> bool {
    let check = match client.validate() {
        Ok(check) => check,
        Err(error) => {
            notes.fault("token", error.to_string(), renew);
            return false;
        }
    };
    if let Some((theirs, ago)) = client.last_date() {
        compare_clocks(theirs.plus(ago), notes);
    }
    if !check.valid {
        notes.fault("token", format!("{kind}; Sonar does not accept it: it is wrong, revoked or expired"), renew);
        return false;
    }
    let left = check.expires_at.map(|at| (at, at.since(clock::now()).as_secs() / 86_400));
    match left {
        Some((at, days)) if days < TOKEN_DAYS_MIN => {
            notes.warning("token", format!("{kind}; it is valid and ends at {at}, in {days} days"), renew);
        }
        Some((at, _)) => notes.ok("token", format!("{kind}; it is valid until {at}")),
        None => notes.ok("token", format!("{kind}; it is valid, and Sonar does not say until when")),
    }
    if kind.contains("analyse") || kind.contains("scoped") {
        let remedy = "use a user's token: in Sonar, My Account → Security → User Token";
        notes.warning("token", format!("{kind} may mostly not read findings"), remedy);
    }
    true
}

/// Sonar's own clock, by the date of its answer, which is of whole seconds.
fn compare_clocks(theirs: Timestamp, notes: &Notes) {
    let now = clock::now();
    let apart = now.since(theirs).max(theirs.since(now));
    let text = format!("this box and Sonar are {} s apart", apart.as_secs());
    let remedy = "have it set: timedatectl set-ntp true";
    if apart > CLOCK_DIFFERENCE_MAX {
        notes.fault("clock", format!("{text}: Sonar says {theirs}, this box {now}"), remedy);
    } else if apart > CLOCK_SLACK {
        notes.warning("clock", text, remedy);
    } else {
        notes.ok("clock", text);
    }
}

/// What the token may not, and what that costs.
fn permissions(admin: &Admin, client: &Client, source: &Source, notes: &Notes) {
    let projects = admin.store.read::<_, StoreError>(catalogue::projects).unwrap_or_default();
    let of: Vec<_> =
        projects.into_iter().map(|(_, one)| one).filter(|one| one.organization.source == source.name).collect();
    let mut hidden = Vec::new();
    for project in of.iter().take(PROJECTS_ASKED_MAX) {
        match client.branches(&project.key) {
            Ok(_) => {}
            Err(error @ (FetchError::NoPermission { .. } | FetchError::NotFound { .. })) => {
                hidden.push(format!("{} ({error})", project.key));
            }
            Err(error) => return notes.unknown("permissions", error.to_string()),
        }
    }
    let asked = of.len().min(PROJECTS_ASKED_MAX);
    if let Some(first) = hidden.first() {
        let text = format!(
            "it does not show {} of {asked} projects, such as {first}; those are not kept current",
            hidden.len()
        );
        notes.fault("permissions", text, "in Sonar, give the token's user the permission Browse on them");
    } else if asked > 0 {
        notes.ok("permissions", format!("Browse: all of the {asked} imported projects that were asked for are shown"));
    } else {
        notes.unknown("permissions", "no project is imported that could be asked for");
    }
    let mut organizations: Vec<&OrganizationKey> = of.iter().map(|project| &project.organization.key).collect();
    organizations.sort();
    organizations.dedup();
    for organization in organizations.into_iter().take(ORGANIZATIONS_ASKED_MAX) {
        match client.webhooks(organization, None) {
            Ok(_) => notes.ok("permissions", format!("Administer: it may see and register the webhooks of {organization}")),
            Err(error) if is_refusal(&error) => notes.warning(
                "permissions",
                format!(
                    "Administer: it may not see the webhooks of {organization}; so webhooks are entered by hand, and calls that \
                     never arrived are found by the polls only, some minutes later"
                ),
                "nothing has to be done; or, in Sonar, give the token's user the right to administer",
            ),
            Err(error) => notes.unknown("permissions", error.to_string()),
        }
    }
}

/// A 404 is Sonar's word for what this token may not administer, too.
fn is_refusal(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::Refused { .. }
            | FetchError::NoPermission { .. }
            | FetchError::NotFound { .. }
            | FetchError::BadRequest { .. }
    )
}

/// What Sonar says of its calls to this box.
fn way_back(admin: &Admin, client: &Client, source: &Source, notes: &Notes) {
    if admin.webhook_address.is_none() {
        return;
    }
    for (hook, webhook) in admin.known_hooks(&source.name).unwrap_or_default().into_iter().take(HOOKS_ASKED_MAX) {
        let whose = hook.project.as_ref().map_or_else(|| hook.organization.key.to_string(), ProjectKey::to_string);
        private(source, &webhook, &whose, notes);
        match calls(client, &hook) {
            Ok(None) => notes.warning(
                "calls",
                format!("Sonar has no webhook of this box for {whose}"),
                format!(
                    "hydrophone webhook register {}, or enter it by hand: hydrophone webhook show",
                    hook.organization
                ),
            ),
            Ok(Some(log)) => log.tell(source, &whose, notes),
            Err(error) if is_refusal(&error) => {
                notes.unknown("calls", format!("the token may not see Sonar's log of its calls for {whose}"));
            }
            Err(error) => notes.unknown("calls", error.to_string()),
        }
    }
}

fn private(source: &Source, webhook: &shapes::Webhook, whose: &str, notes: &Notes) {
    if !webhook.address_known {
        let remedy = "say at which address Sonar reaches this box: hydrophone config set public-url https://NAME";
        return notes.warning("address", format!("nobody has said where Sonar finds this box for {whose}"), remedy);
    }
    if !is_private_url(&webhook.url) {
        return;
    }
    let place = webhook.url.split("/hooks/").next().unwrap_or_default();
    if source.cloud {
        let remedy =
            "give this box an address that the internet reaches: hydrophone config set public-url https://NAME";
        notes.fault("address", format!("SonarQube Cloud cannot reach the private address {place}"), remedy);
    } else {
        notes.warning(
            "address",
            format!("{place} is a private address, which recent Servers refuse to call"),
            VALIDATION,
        );
    }
}

/// What a log of calls says.
struct Log {
    made: usize,
    failed: usize,
    /// When the newest failed, and with which status or error.
    newest_failed: Option<(Timestamp, String)>,
    /// Whether the newest of all failed.
    fails_now: bool,
}

fn calls(client: &Client, hook: &Hook) -> Result<Option<Log>, FetchError> {
    let ours = hook.endpoint.to_string();
    let listed = client.webhooks(&hook.organization.key, hook.project.as_ref())?;
    let Some(webhook) = listed.into_iter().find(|webhook| webhook.url.contains(&ours)) else { return Ok(None) };
    let page = client.deliveries(&webhook.key, 1)?;
    let failed: Vec<_> = page.calls.iter().filter(|call| !call.success).collect();
    let newest_failed = match failed.iter().max_by_key(|call| call.at) {
        None => None,
        Some(call) => {
            let how = match call.status {
                Some(status) => format!("HTTP {status}"),
                None => client.delivery(&call.id)?.error.unwrap_or_else(|| "no answer".to_owned()),
            };
            Some((call.at, how))
        }
    };
    let fails_now = page.calls.iter().max_by_key(|call| call.at).is_some_and(|call| !call.success);
    Ok(Some(Log { made: page.calls.len(), failed: failed.len(), newest_failed, fails_now }))
}

impl Log {
    fn tell(&self, source: &Source, whose: &str, notes: &Notes) {
        let Some((at, how)) = &self.newest_failed else {
            let text = match self.made {
                0 => format!("Sonar has made no call for {whose} yet: start an analysis"),
                made => format!("all of the last {made} calls for {whose} were answered well, by Sonar's own log"),
            };
            return notes.ok("calls", text);
        };
        let text = format!(
            "{} of the last {} calls for {whose} failed, by Sonar's own log; the newest at {at}: {how}",
            self.failed, self.made
        );
        let lower = how.to_lowercase();
        let refuses = !source.cloud
            && ["private", "loopback", "local", "illegalargument"].iter().any(|word| lower.contains(word));
        let remedy = if refuses {
            VALIDATION
        } else {
            "hydrophone webhook test ORG shows which hop fails; nothing is lost: polls find each analysis"
        };
        if self.fails_now {
            notes.fault("calls", text, remedy);
        } else {
            notes.warning("calls", format!("{text}; later ones were answered well"), remedy);
        }
    }
}

const VALIDATION: &str = "in Sonar, as an administrator: Administration → Configuration → General Settings → Security, switch \
    off \"Enable local webhooks validation\" (sonar.validateWebhooks=false)";

/// A token that ends within so many days should be replaced.
const TOKEN_DAYS_MIN: u64 = TOKEN_ENDS_SOON.as_secs() / 86_400;

/// So far apart two clocks may be without anybody noticing.
const CLOCK_SLACK: Duration = Duration::from_mins(1);

/// Bounds of what Sonar is asked in one look.
const PROJECTS_ASKED_MAX: usize = 10;
const ORGANIZATIONS_ASKED_MAX: usize = 3;
const HOOKS_ASKED_MAX: usize = 5;
