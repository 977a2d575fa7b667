//! The secrets of a webhook: when Sonar last signed with each, and the form that makes a new one.

use maud::{Markup, html};

use super::{News, Shown};
use crate::admin::page::frame::wrong;
use crate::admin::page::words::{capital, when_told};
use crate::admin::shapes;
use crate::domain::access::Role;

/// Spans for which the former secret may be taken, in hours.
const OVERLAPS: [(&str, &str); 4] =
    [("168", "for 7 days"), ("24", "for a day"), ("720", "for 30 days"), ("0", "not at all: somebody knows it")];

impl Shown {
    /// Not in the set-up, where the first one has not been used yet.
    pub(super) fn secrets(&self) -> Markup {
        let secrets = &self.webhook.secrets;
        let problem = match &self.news {
            News::Overlap(text) => Some(text.as_str()),
            _ => None,
        };
        html! {
            @if !self.whose.setting_up {
                section.stack #secrets { h2 { "Its secret" }
                    @for (index, secret) in secrets.iter().enumerate() {
                        dl.facts {
                            dt { @if index > 0 { "The former one, made" } @else if secrets.len() > 1 { "The new one, made" } @else { "Made" } }
                            dd { (when_told(Some(&secret.made_at), self.now)) }
                            dt { "Sonar last signed with it" } dd { (when_told(secret.used_at.as_deref(), self.now)) }
                            @if let Some(at) = &secret.expires_at { dt { "Valid until" } dd { time datetime=(at) { (at) } } }
                        }
                    }
                    @if self.role == Role::Admin {
                        p.soft { "A new one is given to Sonar where the token may. Calls signed with the former one are still taken, so that none is lost meanwhile." }
                        (self.whose.form("rotate", &html! {
                            label for="overlap" { "Take the former one" }
                            select.in #overlap name="overlap" aria-invalid=[problem.map(|_| "true")] aria-describedby="overlap-e" { @for (hours, words) in OVERLAPS { option value=(hours) { (words) } } }
                            (wrong("overlap-e", problem))
                            button.button { "Make a new secret" }
                        }))
                    }
                }
            }
        }
    }
}

/// What is left to a person, as Sonar could not be told.
pub(super) fn by_hand(done: &shapes::WebhookRotation) -> Markup {
    html! {
        div.notice.boxed #problem role="alert" tabindex="-1" {
            span.is.warn { span.hide { "Warning" } }
            div.stack {
                p { strong { "There is a new secret, which Sonar does not have yet" } }
                @if let Some(problem) = &done.problem { p { "Sonar was not told: " (problem) "." } }
                @if let Some(clicks) = &done.clicks { p { "Reveal it below and enter it in Sonar: " (clicks) "." } }
                @if let Some(remedy) = &done.remedy { p { "Or: " (capital(remedy)) "; then register the webhook again." } }
                @match &done.former_ends_at {
                    Some(at) => { p { "Calls signed with the former one are taken until " time datetime=(at) { (at) } "." } }
                    None => { p { "Calls signed with the former one are refused from now on." } }
                }
            }
        }
    }
}
