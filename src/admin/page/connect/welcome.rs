//! The first page of a box that holds nothing yet.

use maud::{Markup, html};

use crate::admin::page::words::{coded, sentence};
use crate::admin::shapes;
use crate::domain::access::Role;

/// Three things to do, and the state of the box itself, so that what is wrong with it shows before anything is typed.
pub(in crate::admin::page) fn welcome(status: &shapes::Status, role: Role, is_reached: bool) -> Markup {
    let serious = status.conditions.iter().filter(|condition| condition.severity != "info");
    html! {
        div.head { div {
            h1 { "This box is ready and holds nothing yet" }
            p.sub {
                @if role == Role::Admin {
                    "Three things to do, about five minutes. You can stop after any of them; what you entered is kept."
                } @else { "An admin can connect SonarQube; you may look." }
            }
        } }
        ol.flow {
            li { p { strong { "Connect SonarQube." } " " span.soft { "A Cloud region or your own Server, with a token that may read." } }
                @if role == Role::Admin { div.row { a.button.first #begin href="/connect/source" { "Connect SonarQube" } } } }
            li { p { strong { "Choose projects." } " " span.soft { "You see what would come in before anything does." } } }
            li { p { strong { "Let Sonar call this box." } " " span.soft { "A URL and a secret to paste once, or a button. Without them, this box looks every 15 minutes." } } }
        }
        section.stack { h2 { "The box itself" }
            dl.facts {
                @for condition in serious {
                    dt { "To be seen to" } dd { span.is.warn { (coded(&sentence(&condition.text))) } " " span.soft { (coded(&condition.remedy)) } }
                }
                dt { "Way in" } dd {
                    @if is_reached { span.is.ok { "A public address is set" } }
                    @else { span.is.none { "Not known" } " " span.soft { "No public address is set; the step Webhook asks for it." } }
                }
                dt { "Webhooks at" } dd { @if status.webhook_listener == "off" { span.is.none { "none are taken" } }
                    @else { span.mono { (status.webhook_listener) } } }
                dt { "Version" } dd { (status.version) " " span.soft { (std::env::consts::ARCH) } }
            }
        }
        section.empty { h2 { "No findings yet" } p.soft { "They appear here as soon as the first project is read. That takes seconds for most projects." } }
    }
}
