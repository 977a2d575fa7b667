//! `delivery`: the log of webhook calls.

use clap::Subcommand;

use super::Session;
use super::client::{Answer, Failure, path, path_with};
use super::pages::{first_rows, shaped};
use super::table::{Output, cell, cell_of, clean, minute, minute_ago, now, table};
use crate::admin::shapes::{Delivery, DeliveryList};

/// What can be done with deliveries.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List webhook calls, the newest first.
    List {
        /// Show at most so many.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Show a webhook call.
    Show {
        /// Give the delivery's number.
        id: String,
    },
    /// Treat a webhook call as if it came in again.
    Replay {
        /// Give the delivery's number.
        id: String,
    },
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::List { limit } => list(session, limit),
            Self::Show { id } => {
                let answer: Answer<Delivery> = session.client.get(&path(&["deliveries", &id]))?;
                session.show(&answer, print)
            }
            Self::Replay { id } => {
                let path = path(&["deliveries", &id, "replay"]);
                let answer: Answer<Delivery> = session.client.post(&path, &serde_json::json!({}))?;
                session.show(&answer, |out, new| {
                    out.line(format_args!("Replayed {} as delivery {}.", clean(&id), clean(&new.id)))?;
                    out.line(format_args!("Next: hydrophone delivery show {}", clean(&new.id)))
                })
            }
        }
    }
}

fn list(session: &mut Session, limit: u64) -> Result<(), Failure> {
    let answer = first_rows(&session.client, "deliveries", limit, |rows, before| {
        path_with(&["deliveries"], &[("limit", Some(&rows.to_string())), ("before", before)])
    })?;
    session.show(&answer, |out, value| {
        let list: DeliveryList = shaped(value)?;
        if list.deliveries.is_empty() {
            return out.line("No deliveries yet. Connect Sonar's webhook: hydrophone webhook show ORG");
        }
        let mut rows = table(&["id", "received", "organization", "project", "branch", "status", "outcome"]);
        let outcome = |delivery: &Delivery| match delivery.healed {
            Some(_) => format!("{} (never arrived)", delivery.outcome),
            None => delivery.outcome.clone(),
        };
        for delivery in &list.deliveries {
            rows.add_row([
                cell(&delivery.id),
                cell(minute(&delivery.received_at)),
                cell(&delivery.organization),
                cell_of(delivery.project.as_deref()),
                cell_of(delivery.branch.as_deref()),
                cell_of(delivery.status.as_deref()),
                cell(outcome(delivery)),
            ]);
        }
        out.table(rows)?;
        if list.next.is_some() {
            out.line("There are more; --limit N shows them.")?;
        }
        Ok(())
    })
}

fn print(out: &mut Output, delivery: &Delivery) -> Result<(), Failure> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let now = now();
    out.field("Delivery", &delivery.id)?;
    out.field("Received", minute_ago(&delivery.received_at, now))?;
    out.field("Source", &delivery.source)?;
    out.field("Organization", &delivery.organization)?;
    out.field("Project", text(&delivery.project))?;
    out.field("Branch", text(&delivery.branch))?;
    out.field("Sonar's task", text(&delivery.task_id))?;
    out.field("Status", text(&delivery.status))?;
    out.field("Outcome", &delivery.outcome)?;
    out.field("Detail", text(&delivery.detail))?;
    if let Some(how) = &delivery.healed {
        out.field("Never arrived", format!("{how}; taken from Sonar's log"))?;
    }
    out.field("Duplicate of", text(&delivery.duplicate_of))?;
    out.field("Replay of", text(&delivery.replay_of))?;
    out.field("Synced", delivery.synced_at.as_deref().map(|time| minute_ago(time, now)).unwrap_or_default())
}
