//! What stands around every page: the bar with the box's name, the way to the other pages, who is logged in.

use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{files, news};
use crate::admin::Admin;
use crate::domain::access::{Caller, Role};
use crate::sys::clock;

/// Which of the pages in the bar a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    Overview,
    Findings,
    Projects,
    Assets,
    Deliveries,
    Destinations,
    Fleet,
    Settings,
    /// None of those in the bar.
    Elsewhere,
}

const PAGES: [(Here, &str, &str); 8] = [
    (Here::Overview, "/", "Overview"),
    (Here::Findings, "/findings", "Findings"),
    (Here::Projects, "/projects", "Projects"),
    (Here::Assets, "/assets", "Assets"),
    (Here::Deliveries, "/deliveries", "Deliveries"),
    (Here::Destinations, "/destinations", "Destinations"),
    (Here::Fleet, "/fleet", "Sites"),
    (Here::Settings, "/settings", "Settings"),
];

/// What the frame says beside the page.
pub(super) struct Frame<'a> {
    pub(super) title: &'a str,
    pub(super) here: Here,
    pub(super) caller: &'a Caller,
    /// Things that need a person.
    pub(super) needs: usize,
    /// Whether the box gathers a fleet, so that there are sites.
    pub(super) gathers: bool,
    /// Where the page is to be had again, where that is not its own address: that of an answer to a form.
    pub(super) own: Option<String>,
    /// Whether making it is dear, so that it is not made again by itself.
    pub(super) still: bool,
}

/// The box's name: engineers have several open.
pub(super) fn box_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

const MARK: PreEscaped<&str> = PreEscaped(
    r#"<svg width="20" height="20" viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round"><circle cx="10" cy="13.5" r="2.2" fill="currentColor" stroke="none"/><path d="M6.2 10.2a5.3 5.3 0 0 1 7.6 0M3.2 7.2a9.6 9.6 0 0 1 13.6 0M10 15.7V19"/></svg>"#,
);

impl<'a> Frame<'a> {
    /// A page's frame with what is known of the box.
    pub(super) fn of(admin: &Admin, title: &'a str, here: Here, caller: &'a Caller) -> Self {
        Self { title, here, caller, needs: admin.needs(), gathers: admin.gathers(), own: None, still: false }
    }

    /// The same for a page that answers a form, and is to be had again at this address.
    pub(super) fn at(self, own: impl Into<String>) -> Self {
        Self { own: Some(own.into()), ..self }
    }

    /// A whole page, for somebody who is let in.
    pub(super) fn page(&self, main: &Markup) -> Response {
        let name = box_name();
        let body = html! {
            a.skip href="#main" { "Skip to the content" }
            header.bar { div {
                a.brand href="/" { (MARK) b { "hydrophone" } span { (name) } }
                span #needs data-live="conditions" { @if self.needs > 0 {
                    a.button.little.needs href="/#attention" { span.is.warn {
                        (self.needs)
                        span.hide { @if self.needs == 1 { " thing needs a person" } @else { " things need a person" } }
                    } }
                } }
                button.button.burger popovertarget="nav" { "Menu" }
                nav.nav #nav popover aria-label="Main" {
                    @for (here, address, title) in PAGES.into_iter().filter(|(here, ..)| self.gathers || *here != Here::Fleet) {
                        a href=(address) aria-current=[(here == self.here).then_some("page")] { (title) }
                    }
                    (self.me())
                }
            } }
            main.page #main data-self=[self.own.as_deref()] data-still[self.still] { (main) }
            (keys())
        };
        whole(self.title, &body)
    }

    fn me(&self) -> Markup {
        let name = self.caller.name();
        html! {
            div.me {
                button.button.plain.little popovertarget="me" { (name) }
                div.menu #me popover {
                    p { strong { (name) } " " span.badge { (self.caller.role()) } }
                    hr;
                    @if self.caller.role() == Role::Admin {
                        a href="/users" { "Users and tokens" }
                        a href="/audit" { "Audit log" }
                    }
                    button.script type="button" commandfor="keys" command="show-modal" { "Keyboard shortcuts" }
                    a href="/about" { "About this box" }
                    hr;
                    form method="post" action="/sign-out" { button { "Sign out" } }
                }
            }
        }
    }
}

/// For whoever may only look: one sentence instead of what is absent.
pub(super) fn quiet(caller: &Caller, least: Role) -> Markup {
    html! {
        @if caller.role() < least {
            p.sub { "You may look; " @if least == Role::Admin { "an admin" } @else { "an operator" } " can change this." }
        }
    }
}

/// What the keyboard does, for whoever asks.
fn keys() -> Markup {
    html! {
        dialog #keys aria-labelledby="keys-h" { div.stack {
            h2 #keys-h { "Keyboard" }
            dl.facts {
                @for (keys, what) in KEYS {
                    dt { @for key in keys.split(' ') { @if key == "then" { "then " } @else { kbd { (key) } " " } } }
                    dd { (what) }
                }
            }
            label.choice.small { input #keys-on type="checkbox" checked; span { "Single keys do this in this browser" } }
            form method="dialog" { button.button { "Close" } }
        } }
    }
}

const KEYS: [(&str, &str); 8] = [
    ("/", "to the search field"),
    ("j k", "next, former row or finding"),
    ("Enter", "opens the row"),
    ("x", "selects the row"),
    ("e", "export menu"),
    ("g then o f p a d t", "Overview, Findings, Projects, Assets, Deliveries, Destinations"),
    ("Ctrl Enter", "saves the form"),
    ("?", "this list"),
];

/// A page for somebody who is not let in yet.
pub(super) fn entry(title: &str, inside: &Markup) -> Response {
    let name = box_name();
    let body = html! {
        main.page #main { div.entry {
            p.brand { (MARK) b { "hydrophone" } span { (name) } }
            h1 { (title) }
            (inside)
        } }
    };
    whole(title, &body)
}

/// What a button asks before it does what cannot be undone.
pub(super) struct Asked<'a> {
    /// Of the dialog.
    pub(super) id: &'a str,
    /// What the button that does it says, as `Remove vera`.
    pub(super) deed: &'a str,
    /// What comes of it.
    pub(super) text: &'a str,
    /// Where the form goes.
    pub(super) action: &'a str,
    /// The classes of the button that asks.
    pub(super) class: &'a str,
}

/// A button with the dialog that it opens; both need no script.
pub(super) fn asks(asked: &Asked<'_>) -> Markup {
    let heading = format!("{}-h", asked.id);
    html! {
        button.{ "button " (asked.class) } type="button" popovertarget=(asked.id) { (asked.deed) " …" }
        dialog #(asked.id) popover aria-labelledby=(heading) {
            form.stack method="post" action=(asked.action) {
                h2 id=(heading) { (asked.deed) "?" }
                p { (asked.text) }
                div.row {
                    button.button type="button" popovertarget=(asked.id) popovertargetaction="hide" { "Cancel" }
                    button.button.danger { (asked.deed) }
                }
            }
        }
    }
}

fn whole(title: &str, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" data-at=(clock::now()) data-news=[news::stamp()] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="theme-color" media="(prefers-color-scheme: light)" content="#ffffff";
                meta name="theme-color" media="(prefers-color-scheme: dark)" content="#111418";
                title { (title) " · " (box_name()) " · hydrophone" }
                link rel="stylesheet" href=(files::LOOK.path());
                link rel="icon" type="image/svg+xml" href="/mark.svg";
                // Nothing is painted before all of it is there, so that nothing moves that somebody reads.
                link rel="expect" href="#utc" blocking="render";
                script src=(files::SCRIPT.path()) defer blocking="render" {}
            }
            body {
                (body)
                p.utc.small.soft.plainly #utc { "Times are in UTC." }
            }
        }
    };
    Html(page.into_string()).into_response()
}

/// A field with its label, and what is wrong with it, where something is.
pub(super) fn wrong(id: &str, problem: Option<&str>) -> Markup {
    html! {
        @if let Some(problem) = problem {
            p.wrong.is.bad id=(id) { span { (problem) } }
        }
    }
}
