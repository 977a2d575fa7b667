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

use super::{Admin, Problem, shapes, status};
use crate::domain::time::Timestamp;
use crate::ingress::border::{Border, Which};
use crate::store::FILE_NAME;

/// `GET /metrics`.
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let shown = status::show(State(Arc::clone(&admin))).await?.0;
    let bytes = std::fs::metadata(admin.store.folder().join(FILE_NAME)).map_or(0, |file| file.len());
    let mut text = String::new();
    encode(&mut text, &registry(&shown, bytes, admin.store.commits(), &admin.border))
        .map_err(|_| Problem::internal("the metrics could not be written"))?;
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
