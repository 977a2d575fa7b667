//! Changing a destination, and which part of what was given is wrong.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::Uri;

use super::{filter, lines, named, no_destination, show_named};
use crate::admin::answers::Sent;
use crate::admin::guard::remark;
use crate::admin::{Admin, Problem, Shared, shapes};
use crate::domain::access::Caller;
use crate::domain::destination::{Destination, PlatformKind};
use crate::domain::ids::{AssetName, DestinationId, FindingId};
use crate::platform::{BadDestination, Trouble};
use crate::store::changes::Cursor;
use crate::store::destinations;
use crate::store::records::SecretBytes;

/// `PATCH /destinations/{name}`.
pub(in crate::admin) async fn edit(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Sent(edit): Sent<shapes::DestinationEdit>,
) -> Result<Json<shapes::Destination>, Problem> {
    remark(&members(&edit));
    Ok(Json(admin.ask(move |admin| edited(admin, &caller, &name, edit)).await?.destination))
}

/// What of a destination is to be changed, for the audit log: without values, among which are addresses that are secrets.
pub(in crate::admin) fn members(edit: &shapes::DestinationEdit) -> String {
    let told = [
        ("url", edit.url.is_some()),
        ("secret", edit.secret.is_some()),
        ("options", !edit.options.is_empty()),
        ("filter", edit.filter.is_some()),
        ("assets", !edit.assets.is_empty()),
        ("triage", edit.triage.is_some()),
        ("paused", edit.paused == Some(true)),
        ("resumed", edit.paused == Some(false)),
        ("authorities", edit.ca_pem.is_some()),
        ("proxy", edit.proxy.is_some()),
    ];
    told.into_iter().filter(|(_, is_told)| *is_told).map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

/// The same with what the platform said, where it was asked.
pub(in crate::admin) fn edited(
    admin: &Admin,
    caller: &Caller,
    name: &str,
    edit: shapes::DestinationEdit,
) -> Result<shapes::DestinationCheck, Problem> {
    let (id, before, former) = admin.store.read::<_, Problem>(|view| {
        let (id, destination) = named(view, name)?;
        Ok((id, destination, destinations::secret(view, id)?))
    })?;
    let (resumed, passed_back, checked) = (edit.paused == Some(false), before.triage_to_sonar, edit.check);
    let secret = edit.secret.as_ref().map(|secret| SecretBytes::trimmed(secret));
    let destination = changed(before.clone(), edit)?;
    // Whoever may use the socket has the box and its secrets anyway.
    if *caller != Caller::Socket && secret.is_none() && former.is_some() {
        stays(&before, &destination)?;
    }
    let mut platform = admin.deliver.open(&destination, secret.as_ref().or(former.as_ref())).map_err(of_field)?;
    let lines = if checked { lines(platform.as_mut()).map_err(asked)? } else { Vec::new() };
    if let Some(bad) = lines.iter().find(|line| !line.good) {
        return Err(refused(bad, &lines));
    }
    admin.store.write::<_, Problem>(move |batch| {
        let now = destinations::destination(batch, id)?.ok_or_else(|| no_destination(destination.name.as_str()))?;
        // A platform may be asked for a while, and what was given for one place must not end up at another.
        if now != before {
            return Err(Problem::conflict(format!("destination {} was changed meanwhile", destination.name))
                .remedy("look at it as it is now, and change that"));
        }
        destinations::put(batch, id, &destination, secret.as_ref())?;
        let mut progress = destinations::progress(batch, id)?;
        if resumed && progress.gone {
            progress.gone = false;
            progress.trouble = None;
        }
        if is_another_stream(&before, &destination) {
            // What is known there is not what was told elsewhere.
            progress.replay(Cursor::New);
        }
        if destination.triage_to_sonar && !passed_back {
            // What was decided there until now counts too.
            progress.decisions = true;
            progress.sweep = Some(FindingId(0));
        }
        Ok(destinations::put_progress(batch, id, &progress)?)
    })?;
    admin.deliver.kick(id);
    Ok(shapes::DestinationCheck { destination: show_named(admin, name)?, lines, secret: None })
}

/// A secret stays with the place that it was given for: else whoever has an admin's session could have it sent to a place of
/// their own, and read there what the API never tells.
fn stays(before: &Destination, after: &Destination) -> Result<(), Problem> {
    let other = if place(&before.url) != place(&after.url) {
        "another scheme, host or port"
    } else if before.proxy != after.proxy {
        "another proxy"
    // Without authorities of its own fewer are trusted than before.
    } else if before.ca_pem != after.ca_pem && after.ca_pem.is_some() {
        "other authorities"
    } else if after.kind == PlatformKind::Nats && is_plain(after) && !is_plain(before) {
        "a way without TLS"
    } else {
        return Ok(());
    };
    Err(Problem::bad(format!(
        "{other} would be shown the secret of destination {}, which was not given for that: give the secret again with it",
        before.name
    ))
    .at("secret")
    .remedy("enter the token or key once more; or, on the box itself: `hydrophone destination edit`"))
}

fn is_plain(destination: &Destination) -> bool {
    destination.option("plain") == Some("yes")
}

/// Whether what a fleet is told goes to another place in it, or to another one.
fn is_another_stream(before: &Destination, after: &Destination) -> bool {
    let place =
        |one: &Destination| (one.url.clone(), ["site", "stream"].map(|name| one.option(name).map(str::to_owned)));
    after.kind == PlatformKind::Nats && place(before) != place(after)
}

/// Who is asked at an address. One that cannot be read is its own place.
fn place(url: &str) -> (String, String, Option<u16>) {
    let parsed = url.trim().parse::<Uri>().ok();
    let Some((address, host)) = parsed.as_ref().and_then(|address| Some((address, address.host()?))) else {
        return (url.to_owned(), String::new(), None);
    };
    let scheme = address.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => 80,
        "nats" | "tls" => 4222,
        _ => 443,
    };
    (scheme, host.to_ascii_lowercase(), Some(address.port_u16().unwrap_or(usual)))
}

/// A platform that was asked does not accept what was given.
pub(super) fn refused(bad: &shapes::CheckLine, lines: &[shapes::CheckLine]) -> Problem {
    let problem = Problem::conflict(format!("{}: {}", bad.what, bad.text))
        .remedy("mend that, or add it all the same with --unchecked")
        .with_lines(lines.to_vec());
    match bad.what.as_str() {
        "address" | "folder" => problem.at("url"),
        "token" | "secret" | "key" => problem.at("secret"),
        "company" => problem.at("options.company"),
        "right to create products" => problem.at("options.product-type"),
        "repository" => problem.at("options.repository"),
        _ => problem,
    }
}

/// A platform that was asked cannot be asked, or refuses what it is shown.
pub(super) fn asked(trouble: Trouble) -> Problem {
    let is_secret = matches!(&trouble, Trouble::Refused { why, .. } if why.contains("token") || why.contains(" key"));
    let problem = Problem::from(trouble);
    if is_secret { problem.at("secret") } else { problem }
}

fn changed(mut destination: Destination, edit: shapes::DestinationEdit) -> Result<Destination, Problem> {
    destination.url = edit.url.unwrap_or(destination.url);
    edit_map(&mut destination.options, edit.options.into_iter());
    let assets = edit.assets.into_iter().map(|(asset, name)| Ok((AssetName::parse(&asset)?, name)));
    let assets = assets.collect::<Result<Vec<_>, Problem>>().map_err(|problem| problem.at("assets"))?;
    edit_map(&mut destination.assets, assets.into_iter());
    if let Some(given) = edit.filter {
        destination.filter = filter(given)?;
    }
    let triage = edit.triage.unwrap_or_default();
    destination.triage_to_sonar = triage.to_sonar.unwrap_or(destination.triage_to_sonar);
    destination.triage_from_sonar = triage.from_sonar.unwrap_or(destination.triage_from_sonar);
    destination.paused = edit.paused.unwrap_or(destination.paused);
    if let Some(pem) = edit.ca_pem {
        destination.ca_pem = Some(pem.trim().to_owned()).filter(|pem| !pem.is_empty());
    }
    if let Some(proxy) = edit.proxy {
        destination.proxy = Some(proxy.trim()).filter(|proxy| !proxy.is_empty()).map(Into::into);
    }
    Ok(destination)
}

/// Sets those that have a value, and takes the others away.
fn edit_map<K: Ord>(map: &mut BTreeMap<K, String>, edits: impl Iterator<Item = (K, String)>) {
    for (key, value) in edits {
        if value.is_empty() {
            map.remove(&key);
        } else {
            map.insert(key, value);
        }
    }
}

/// Has destinations look again where their findings go, as an asset has another name or holds other projects.
pub(in crate::admin) fn look_again(admin: &Admin) -> Result<(), Problem> {
    let ids: Vec<DestinationId> = admin.store.read::<_, Problem>(|view| Ok(destinations::ids(view)?))?;
    for id in ids {
        admin.deliver.kick(id);
    }
    Ok(())
}

/// A platform's sentence with the member of the request that it speaks of.
pub(super) fn of_field(bad: BadDestination) -> Problem {
    let field = field_of(&bad.0);
    let problem = Problem::from(bad);
    match field {
        Some(field) => problem.at(field),
        None => problem,
    }
}

/// Platforms say what is wrong in one sentence, which names the option or what was given.
fn field_of(text: &str) -> Option<String> {
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&["unencrypted", "is no folder"]) {
        return Some("url".to_owned());
    }
    if has(&["the proxy "]) {
        return Some("proxy".to_owned());
    }
    if has(&["file of authorities"]) {
        return Some("ca_pem".to_owned());
    }
    let option = OPTIONS.iter().find(|name| text.starts_with(&format!("{name} ")) || named_in(text, name));
    if let Some(option) = option {
        return Some(format!("options.{option}"));
    }
    if has(&["is no address"]) {
        return Some("url".to_owned());
    }
    if has(&["is no repository"]) {
        return Some("options.repository".to_owned());
    }
    has(&["token", "secret", "API key"]).then(|| "secret".to_owned())
}

/// Whether a sentence speaks of the option of this name, and not of one that only begins like it.
fn named_in(text: &str, name: &str) -> bool {
    let after = text.split_once("option ").map(|(_, after)| after);
    let rest = after.and_then(|after| after.strip_prefix(name));
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '-'))
}

/// What `--option` sets, of all kinds.
const OPTIONS: &[&str] = &[
    "product-type",
    "engagement",
    "verified",
    "company",
    "business-impact",
    "repository-url",
    "plain",
    "timeout",
    "keep",
    "suppressions",
    "repository",
    "ref",
    "commit",
    "site",
    "stream",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::DestinationName;
    use crate::domain::time::Timestamp;
    use crate::platform;
    use crate::sys::trust::Trust;

    #[test]
    fn a_secret_stays_with_scheme_host_port_proxy_and_authorities() {
        let name = DestinationName::parse("d").expect("a name");
        let of = |url: &str| Destination::new(name.clone(), PlatformKind::DefectDojo, url.to_owned(), Timestamp(0));
        let before = of("https://dojo.example/api");
        for same in ["https://dojo.example/api", "https://dojo.example:443/v2", "HTTPS://Dojo.example"] {
            assert!(stays(&before, &of(same)).is_ok(), "{same}");
        }
        for other in [
            "http://dojo.example/api",
            "http://dojo.example:443/api",
            "https://dojo.example:8443/api",
            "https://dojo.example@evil.example/api",
            "https://evil.example/api",
            "nothing",
        ] {
            let problem = stays(&before, &of(other)).expect_err(other);
            assert_eq!(problem.field(), Some("secret"), "{other}");
        }
        let proxied = |proxy: &str| Destination { proxy: Some(proxy.into()), ..before.clone() };
        assert!(stays(&before, &proxied("http://p")).is_err() && stays(&proxied("http://p"), &before).is_err());
        assert!(stays(&proxied("http://p"), &proxied("http://p")).is_ok());
        let trusting = |pem: &str| Destination { ca_pem: Some(pem.to_owned()), ..before.clone() };
        assert!(stays(&before, &trusting("A")).is_err() && stays(&trusting("A"), &trusting("B")).is_err());
        assert!(stays(&trusting("A"), &before).is_ok(), "fewer are trusted then");
        let nats = Destination::new(name.clone(), PlatformKind::Nats, "nats://n.example".to_owned(), Timestamp(0));
        let plain = Destination { options: [("plain".to_owned(), "yes".to_owned())].into(), ..nats.clone() };
        assert!(stays(&nats, &plain).is_err() && stays(&plain, &plain).is_ok() && stays(&plain, &nats).is_ok());
        assert!(stays(&nats, &Destination { url: "nats://n.example:4222".to_owned(), ..nats.clone() }).is_ok());
    }

    /// Asked of the platforms themselves, so that a sentence that is written anew is not told at another field.
    #[test]
    fn what_a_platform_refuses_is_told_at_the_field_that_it_speaks_of() {
        let whsec = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        let (dojo, conviso, events) = (PlatformKind::DefectDojo, PlatformKind::Conviso, PlatformKind::Events);
        let (sarif, github, nats) = (PlatformKind::Sarif, PlatformKind::GitHub, PlatformKind::Nats);
        let url = "https://a.example";
        for (kind, url, options, secret, field) in [
            (dojo, "dojo", &[][..], "t", "url"),
            (dojo, url, &[], "", "secret"),
            (dojo, url, &[], "two words", "secret"),
            (dojo, url, &[("verified", "maybe")], "t", "options.verified"),
            (dojo, url, &[("engagement", " ")], "t", "options.engagement"),
            (conviso, url, &[], "k", "options.company"),
            (conviso, url, &[("company", "acme")], "k", "options.company"),
            (conviso, url, &[("company", "4")], "", "secret"),
            (conviso, url, &[("company", "4"), ("business-impact", "x")], "k", "options.business-impact"),
            (conviso, url, &[("company", "4"), ("repository-url", "x")], "k", "options.repository-url"),
            (events, "http://a.example", &[], whsec, "url"),
            (events, url, &[], "hunter2", "secret"),
            (events, url, &[("timeout", "x")], whsec, "options.timeout"),
            (events, "http://a.example", &[("plain", "x")], whsec, "options.plain"),
            (sarif, "relative/folder", &[], "", "url"),
            (sarif, "/folder", &[("keep", "x")], "", "options.keep"),
            (sarif, "/folder", &[("suppressions", "x")], "", "options.suppressions"),
            (github, url, &[], "t", "options.repository"),
            (github, url, &[("repository", "x")], "t", "options.repository"),
            (github, url, &[("repository", "a/b")], "", "secret"),
            (github, url, &[("repository", "a/b"), ("ref", "x")], "t", "options.ref"),
            (github, url, &[("repository", "a/b"), ("commit", "x")], "t", "options.commit"),
            (nats, url, &[("site", "berlin")], "", "url"),
            (nats, "nats://a.example/path", &[("site", "berlin")], "", "url"),
            (nats, "nats://a.example", &[], "", "options.site"),
            (nats, "nats://a.example", &[("site", "a.b")], "", "options.site"),
            (nats, "nats://a.example", &[("site", "berlin"), ("stream", "a b")], "", "options.stream"),
            (nats, "nats://a.example", &[("site", "berlin"), ("plain", "x")], "", "options.plain"),
            (nats, "nats://a.example", &[("site", "berlin")], "two words", "secret"),
        ] {
            let name = DestinationName::parse("d").expect("a name");
            let mut destination = Destination::new(name, kind, url.to_owned(), Timestamp(0));
            destination.options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let secret = Some(secret).filter(|secret| !secret.is_empty());
            let bad = platform::open(&destination, secret, &Trust::load()).err();
            // What is not refused here is asked of the platform itself.
            let Some(bad) = bad else {
                panic!("{kind} takes {url} {options:?} {secret:?}");
            };
            assert_eq!(field_of(&bad.0).as_deref(), Some(field), "{kind} {options:?}: {bad}");
        }
    }

    #[test]
    fn a_proxy_and_certificates_that_cannot_be_read_are_told_at_their_fields() {
        let name = DestinationName::parse("d").expect("a name");
        let new = Destination::new(name, PlatformKind::DefectDojo, "https://a.example".to_owned(), Timestamp(0));
        let field = |destination: &Destination| {
            let bad = platform::open(destination, Some("t"), &Trust::load()).err().expect("it is refused");
            field_of(&bad.0)
        };
        let proxy = Destination { proxy: Some("::".into()), ..new.clone() };
        assert_eq!(field(&proxy).as_deref(), Some("proxy"));
        let authorities = Destination { ca_pem: Some("no certificate".to_owned()), ..new };
        assert_eq!(field(&authorities).as_deref(), Some("ca_pem"));
    }
}
