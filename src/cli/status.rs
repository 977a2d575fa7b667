//! `status`: health on one screen.

use std::fmt::Write as _;

use clap::Args;

use super::Session;
use super::client::{Answer, Failure};
use super::table::{Output, clean, counted, minute, minute_ago, now, number};
use crate::admin::shapes::{Condition, Freshness, SourceHealth, Status};

/// Show the gateway's health on one screen.
#[derive(Debug, Args)]
pub struct Show {}

impl Show {
    /// Does it.
    pub fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let answer: Answer<Status> = session.client.get("status")?;
        session.show(&answer, print)
    }
}

fn print(out: &mut Output, status: &Status) -> Result<(), Failure> {
    out.field("Hydrophone", &status.version)?;
    out.field("Ready", if status.ready { "yes" } else { "no" })?;
    out.field("Running since", minute_ago(&status.started_at, now()))?;
    match status.webhook_listener.as_str() {
        "off" => out.field("Webhooks at", "off: this box only polls")?,
        listener => out.field("Webhooks at", listener)?,
    }
    match status.page.as_str() {
        // A daemon of before there was one.
        "" => {}
        "off" => out.field("Page at", "off: the socket alone is served")?,
        page => out.field("Page at", page)?,
    }
    out.field("State folder", &status.state_folder)?;
    conditions(out, &status.conditions)?;
    out.line("")?;
    let calls = &status.deliveries;
    out.field(
        "Deliveries",
        format!(
            "{} accepted, {} rejected, {} duplicate, {} unavailable",
            number(calls.accepted),
            number(calls.rejected),
            number(calls.duplicate),
            number(calls.unavailable)
        ),
    )?;
    let sync = &status.sync;
    let (queued, running, later) = (number(sync.queued), number(sync.running), number(sync.later));
    out.field("Reads of Sonar", format!("{running} running, {queued} queued, {later} later"))?;
    freshness(out, &status.freshness)?;
    for source in &status.sources {
        self::source(out, source)?;
    }
    inventory(out, status)?;
    for destination in &status.destinations {
        let behind = destination.lag.filter(|lag| *lag > 0).map(|lag| format!(", {} behind", number(lag)));
        let (name, state) = (&destination.name, destination.state.replace('_', " "));
        out.field("Destination", format!("{name} ({}): {state}{}", destination.kind, behind.unwrap_or_default()))?;
    }
    Ok(())
}

fn conditions(out: &mut Output, conditions: &[Condition]) -> Result<(), Failure> {
    out.line("")?;
    if conditions.is_empty() {
        return out.line("Nothing needs attention.");
    }
    let mut sorted: Vec<_> = conditions.iter().collect();
    sorted.sort_by_key(|condition| rank(&condition.severity));
    for condition in sorted {
        let severity = out.severity(&condition.severity);
        out.line(format_args!("{severity} {}: {}", clean(&condition.code), clean(&condition.text)))?;
        if !condition.remedy.is_empty() {
            out.line(format_args!("    {}", clean(&condition.remedy)))?;
        }
    }
    Ok(())
}

fn freshness(out: &mut Output, freshness: &Freshness) -> Result<(), Failure> {
    if freshness.max_minutes == 0 {
        return Ok(());
    }
    let (poll, reread) = (number(freshness.poll_minutes), number(freshness.max_minutes));
    let mut text = format!("polled every {poll} min, read again every {reread} min");
    if let Some(oldest) = &freshness.oldest {
        let synced = oldest.synced_at.as_deref().map_or_else(|| "never".to_owned(), |time| minute_ago(time, now()));
        let (project, branch) = (clean(&oldest.project), clean(&oldest.branch));
        write!(text, "; oldest {project} {branch}: {synced}").expect("writing to a string cannot fail");
    }
    if freshness.stale > 0 {
        write!(text, "; {} stale", number(freshness.stale)).expect("writing to a string cannot fail");
    }
    out.field("Freshness", text)
}

fn source(out: &mut Output, source: &SourceHealth) -> Result<(), Failure> {
    let (sent, most) = (source.requests_last_minute, source.requests_per_minute);
    let mut text = format!(
        "{}: {} of {} requests in the last minute",
        clean(&source.name),
        number(sent.into()),
        number(most.into())
    );
    let reason = source.reason.as_deref().map(clean).unwrap_or_default();
    if let Some(until) = &source.paused_until {
        write!(text, "; paused until {}: {reason}", minute(until)).expect("writing to a string cannot fail");
    } else if let Some(since) = &source.failing_since {
        write!(text, "; failing since {}: {reason}", minute(since)).expect("writing to a string cannot fail");
    }
    out.field("Source", text)
}

fn rank(severity: &str) -> u8 {
    match severity {
        "error" => 0,
        "warning" => 1,
        _ => 2,
    }
}

fn inventory(out: &mut Output, status: &Status) -> Result<(), Failure> {
    let held = &status.inventory;
    let (sources, projects) = (counted(held.sources, "source"), counted(held.projects, "project"));
    out.field("Inventory", format!("{sources}, {projects}, {}", counted(held.assets, "asset")))?;
    let open: u64 = held.open.iter().map(|entry| entry.count).sum();
    let mut text = format!("{} open, {} closed", number(open), number(held.closed));
    if held.filtered > 0 {
        write!(text, "; {} more open, kept back by filters", number(held.filtered))
            .expect("writing to a string cannot fail");
    }
    out.field("Findings", text)?;
    let width = held.open.iter().map(|entry| number(entry.count).len()).max().unwrap_or_default();
    for entry in &held.open {
        let severity = out.severity(&entry.severity);
        out.line(format_args!("{:16}{:>width$} {severity}", "", number(entry.count)))?;
    }
    if held.sources == 0 {
        out.line("No sources yet. Connect one: hydrophone source add --help")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;

    #[test]
    fn the_worst_condition_comes_first_with_its_remedy() {
        let condition =
            |code: &str, severity: &str| json!({"code": code, "severity": severity, "text": "T", "remedy": "R"});
        let status = json!({
            "version": "0.1.0", "ready": true, "webhook_listener": "https://0.0.0.0:8443", "state_folder": "/s",
            "started_at": "x", "conditions": [condition("b", "info"), condition("a", "error")],
            "deliveries": {"accepted": 1200, "rejected": 1, "duplicate": 2, "unavailable": 0},
            "sync": {"queued": 1, "running": 2, "later": 3},
            "inventory": {"sources": 1, "projects": 2, "assets": 3, "closed": 4,
                          "open": [{"severity": "critical", "count": 5}, {"severity": "high", "count": 1500}]},
            "destinations": [],
        });
        let daemon = FakeDaemon::start(move |_, _| (200, status.to_string()));
        let expected = "\
Hydrophone:     0.1.0
Ready:          yes
Running since:  x
Webhooks at:    https://0.0.0.0:8443
State folder:   /s

error a: T
    R
info b: T
    R

Deliveries:     1,200 accepted, 1 rejected, 2 duplicate, 0 unavailable
Reads of Sonar: 2 running, 1 queued, 3 later
Inventory:      1 source, 2 projects, 3 assets
Findings:       1,505 open, 4 closed
                    5 critical
                1,500 high
";
        assert_eq!(told(&daemon, &["status"]).0, expected);
    }
}
