//! The box in numbers, for Prometheus: the OpenMetrics text format, which names units and help. It is what the status says,
//! and what strangers met at the listeners; nothing is counted twice.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Admin, Problem, fleet, shapes, status};
use crate::domain::time::Timestamp;
use crate::ingress::border::{Border, Which};
use crate::store::FILE_NAME;
use crate::sys::clock;

/// `GET /metrics`.
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let shown = status::show(State(Arc::clone(&admin))).await?.0;
    // As the status, this answers also when the store does not.
    let fleets = fleet::show(State(Arc::clone(&admin))).await.map(|fleets| fleets.0.fleets).unwrap_or_default();
    let bytes = std::fs::metadata(admin.store.folder().join(FILE_NAME)).map_or(0, |file| file.len());
    let mut text = String::new();
    let mut registry = registry(&shown, bytes, admin.store.commits(), &admin.border);
    self::fleets(&mut registry, &fleets, clock::now());
    encode(&mut text, &registry).map_err(|_| Problem::internal("the metrics could not be written"))?;
    Ok(([(header::CONTENT_TYPE, KIND)], text).into_response())
}

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySeverity {
    severity: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    destination: String,
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: String,
    severity: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByListener {
    listener: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    listener: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySource {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFleet {
    fleet: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySite {
    fleet: String,
    site: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: String,
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn registry(status: &shapes::Status, database_bytes: u64, commits: u64, border: &Border) -> Registry {
    let mut registry = Registry::with_prefix("hydrophone");
    let build = Family::<Version, Gauge>::default();
    build.get_or_create(&Version { version: status.version.clone() }).set(1);
    registry.register("build_info", "The version that runs", build);
    let ready: Gauge = Gauge::default();
    ready.set(i64::from(status.ready));
    registry.register("ready", "Whether webhooks are taken and the store answers", ready);
    if let Ok(at) = Timestamp::parse(&status.started_at) {
        let started: Gauge = Gauge::default();
        started.set(at.0 / 1000);
        registry.register_with_unit("start_time", "When the daemon started", Unit::Seconds, started);
    }
    if let Some(at) = status.certificate_ends_at.as_deref().and_then(|at| Timestamp::parse(at).ok()) {
        let ends: Gauge = Gauge::default();
        ends.set(at.0 / 1000);
        let help = "When the certificate of the listeners ends";
        registry.register_with_unit("certificate_expiry_timestamp", help, Unit::Seconds, ends);
    }
    let size: Gauge = Gauge::default();
    size.set(whole(database_bytes));
    registry.register_with_unit("database_size", "The database's file", Unit::Bytes, size);

    let written: Counter = Counter::default();
    written.inc_by(commits);
    registry.register("commits", "What was written to the database in one go, since the start", written);

    let webhooks = Family::<ByOutcome, Counter>::default();
    let counts = &status.deliveries;
    for (outcome, count) in [
        ("accepted", counts.accepted),
        ("rejected", counts.rejected),
        ("duplicate", counts.duplicate),
        ("unavailable", counts.unavailable),
    ] {
        webhooks.get_or_create(&ByOutcome { outcome }).inc_by(count);
    }
    registry.register("webhooks", "Webhook calls since the start; duplicates are among the accepted", webhooks);

    let sync = Family::<ByState, Gauge>::default();
    for (state, count) in
        [("queued", status.sync.queued), ("running", status.sync.running), ("later", status.sync.later)]
    {
        sync.get_or_create(&ByState { state }).set(whole(count));
    }
    registry.register("reads", "Reads of Sonar that are due, under way and planned for later", sync);
    inventory(&mut registry, status);
    others(&mut registry, status);
    strangers(&mut registry, border);
    registry
}

/// What the listeners let in and refused. Addresses are no labels: strangers have any number of them.
fn strangers(registry: &mut Registry, border: &Border) {
    let (open, max) = (Family::<ByListener, Gauge>::default(), Family::<ByListener, Gauge>::default());
    let (ended, refused) = (Family::<ByListener, Counter>::default(), Family::<ByReason, Counter>::default());
    for (which, listener) in [(Which::Webhook, "webhook"), (Which::Page, "page")] {
        let (door, of) = (border.door(which), ByListener { listener });
        open.get_or_create(&of).set(whole(door.open() as u64));
        max.get_or_create(&of).set(whole(door.max() as u64));
        ended.get_or_create(&of).inc_by(door.ended());
        for (reason, count) in door.refusals.all() {
            refused.get_or_create(&ByReason { listener, reason }).inc_by(count);
        }
    }
    registry.register("connections_open", "Connections that are open, by listener", open);
    registry.register("connections_max", "Connections that may be open before some are ended to make room", max);
    registry.register(
        "connections_ended",
        "Connections that were ended to make room for others, since the start",
        ended,
    );
    registry.register("refused", "Connections and calls that were refused or cut, by reason, since the start", refused);
    let outside: Counter = Counter::default();
    outside.inc_by(border.outside());
    let help = "Webhook connections and calls from outside the networks that may send them, refused or only logged";
    registry.register("outside_networks", help, outside);
    let senders: Gauge = Gauge::default();
    senders.set(whole(border.refused_senders() as u64));
    registry.register(
        "senders_refused",
        "Addresses whose webhook calls are refused for too many wrong signatures",
        senders,
    );
}

fn inventory(registry: &mut Registry, status: &shapes::Status) {
    let open = Family::<BySeverity, Gauge>::default();
    for one in &status.inventory.open {
        open.get_or_create(&BySeverity { severity: one.severity.clone() }).set(whole(one.count));
    }
    registry.register("findings_open", "Findings that are not closed and pass their organization's filter", open);
    for (name, help, count) in [
        ("findings_closed", "Findings that are closed", status.inventory.closed),
        ("findings_filtered", "Findings that are not closed and are kept back by filters", status.inventory.filtered),
        ("projects", "Imported projects", status.inventory.projects),
        ("assets", "Assets", status.inventory.assets),
        (
            "branches_stale",
            "Branches that were not proven current for twice the time that is promised",
            status.freshness.stale,
        ),
    ] {
        let gauge: Gauge = Gauge::default();
        gauge.set(whole(count));
        registry.register(name, help, gauge);
    }
}

fn others(registry: &mut Registry, status: &shapes::Status) {
    let requests = Family::<BySource, Gauge>::default();
    for source in &status.sources {
        let of = BySource { source: source.name.clone() };
        requests.get_or_create(&of).set(i64::from(source.requests_last_minute));
    }
    registry.register("source_requests_last_minute", "Requests to a source in the last minute", requests);
    let (lag, fine) = (Family::<Of, Gauge>::default(), Family::<Of, Gauge>::default());
    for one in &status.destinations {
        let of = Of { destination: one.name.clone(), kind: one.kind.clone() };
        if let Some(changes) = one.lag {
            lag.get_or_create(&of).set(whole(changes));
        }
        let good = matches!(one.state.as_str(), "up_to_date" | "behind" | "seeding");
        fine.get_or_create(&of).set(i64::from(good));
    }
    registry.register("destination_lag", "Changes that a destination has not been told yet", lag);
    registry.register("destination_up", "Whether a destination takes what it is told", fine);
    let conditions = Family::<ByCode, Gauge>::default();
    for one in &status.conditions {
        conditions.get_or_create(&ByCode { code: one.code.clone(), severity: one.severity.clone() }).inc();
    }
    registry.register("conditions", "Things that an operator should know, by code", conditions);
}

/// The fleets that this box gathers and their sites; nothing on one that gathers none. A fleet may have very many sites, so
/// that their findings are not told by severity.
fn fleets(registry: &mut Registry, fleets: &[shapes::Fleet], now: Timestamp) {
    if fleets.is_empty() {
        return;
    }
    let (up, pending) = (Family::<ByFleet, Gauge>::default(), Family::<ByFleet, Gauge>::default());
    let (open, heard) = (Family::<BySite, Gauge>::default(), Family::<BySite, Gauge>::default());
    for one in fleets {
        let of = ByFleet { fleet: one.name.clone() };
        up.get_or_create(&of).set(i64::from(one.state != "unreachable"));
        pending.get_or_create(&of).set(whole(one.pending));
        for site in &one.sites {
            let of = BySite { fleet: one.name.clone(), site: site.site.clone() };
            open.get_or_create(&of).set(whole(site.open));
            if let Some(at) = site.heard_at.as_deref().and_then(|at| Timestamp::parse(at).ok()) {
                heard.get_or_create(&of).set(whole(now.since(at).as_secs()));
            }
        }
    }
    registry.register("fleet_up", "Whether a fleet that this box gathers can be read", up);
    registry.register("fleet_pending_messages", "Messages of a fleet that are still to be read", pending);
    registry.register("site_open_findings", "Findings of a site that are not closed", open);
    let help = "How long ago the box of a site last said that it is there";
    registry.register_with_unit("site_heard", help, Unit::Seconds, heard);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn told(fleets: &[shapes::Fleet], now: Timestamp) -> String {
        let mut registry = Registry::with_prefix("hydrophone");
        self::fleets(&mut registry, fleets, now);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_fleet_is_told_with_its_sites_and_none_leaves_no_trace() {
        let site = |name: &str, heard_at: Option<&str>| shapes::FleetSite {
            site: name.to_owned(),
            machine: None,
            version: None,
            inventory: None,
            heard_at: heard_at.map(str::to_owned),
            silent_seconds: None,
            projects: 1,
            open: 7,
            incomplete: 0,
            synced_at: None,
            configuration: None,
            conditions: Vec::new(),
        };
        let fleet = shapes::Fleet {
            name: "all".to_owned(),
            url: "nats://nats.example".to_owned(),
            stream: "HYDROPHONE".to_owned(),
            state: "catching_up".to_owned(),
            trouble: None,
            remedy: None,
            pending: 3,
            position: 9,
            foreign: 0,
            sites: vec![site("berlin", Some("2026-11-01T00:00:00Z")), site("oslo", None)],
        };
        let now = Timestamp::parse("2026-11-01T00:02:00Z").unwrap();
        let text = told(&[fleet], now);
        for line in [
            "hydrophone_fleet_up{fleet=\"all\"} 1",
            "hydrophone_fleet_pending_messages{fleet=\"all\"} 3",
            "hydrophone_site_open_findings{fleet=\"all\",site=\"berlin\"} 7",
            "hydrophone_site_heard_seconds{fleet=\"all\",site=\"berlin\"} 120",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
        assert!(!text.contains("heard_seconds{fleet=\"all\",site=\"oslo\"}"), "{text}");
        assert!(!told(&[], now).contains("hydrophone"));
    }
}
