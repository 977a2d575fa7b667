//! Users, API tokens and the audit log.

use std::sync::{Arc, LazyLock};

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use maud::{Markup, html};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::fields::{is_mendable, sentence, status_again};
use super::frame::{Asked, Frame, Here, asks, wrong};
use super::marks::{actions_column, column, number_column};
use super::words::{encoded, when_told};
use crate::admin::access::{audit, tokens, users};
use crate::admin::answers::{Query, Sent};
use crate::admin::{Admin, Problem, routes, shapes};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// `GET /users`.
pub(super) async fn show(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    page(&state, &caller, None, None).await
}

/// A form to add something, as it was sent, and what is wrong with one of its fields.
struct Refused<'r> {
    /// `user` or `token`.
    form: &'r str,
    name: &'r str,
    role: &'r str,
    days: &'r str,
    /// `name`, `role` or `days`.
    field: &'r str,
    text: String,
}

impl Refused<'_> {
    /// The page with the form as it was sent.
    async fn page(&self, admin: &Arc<Admin>, caller: &Caller, status: StatusCode) -> Result<Response, Problem> {
        let field = self.id(self.field);
        let notice = html! {
            div.notice.boxed.bad #problem role="alert" tabindex="-1" {
                span.is.bad { span.hide { "Error" } }
                div {
                    p { strong { "The " (self.form) " is not added" } }
                    p { a href={ "#" (field) } { (self.text) } " What you typed is kept." }
                }
            }
        };
        Ok((status, page(admin, caller, Some(notice), Some(self)).await?).into_response())
    }

    /// A field's id.
    fn id(&self, field: &str) -> String {
        if field == "name" { self.form.to_owned() } else { format!("{}-{field}", self.form) }
    }

    fn wrong(&self, field: &str) -> Option<&str> {
        (self.field == field).then_some(self.text.as_str())
    }
}

/// Which field of a form to add something is meant, where it is its name or role.
fn field_of(problem: &Problem, role: &str) -> &'static str {
    let is_role = problem.status() != StatusCode::CONFLICT && role.parse::<Role>().is_err();
    if is_role { "role" } else { "name" }
}

/// The page with what is wrong with one of its forms, and what was typed into it.
async fn page_again(
    admin: &Arc<Admin>,
    caller: &Caller,
    problem: &Problem,
    (title, name, role): (&str, &str, &str),
) -> Result<Response, Problem> {
    let notice = html! {
        div.notice.boxed.bad role="alert" {
            span.is.bad { span.hide { "Error" } }
            div {
                p { strong { (title) } }
                p {
                    @if name.is_empty() { (sentence(problem.detail())) } @else { (name) " (" (role) "): " (problem.detail()) "." }
                    @if let Some(hint) = problem.hint() { " " (sentence(hint)) }
                }
            }
        }
    };
    Ok((status_again(problem), page(admin, caller, Some(notice), None).await?).into_response())
}

async fn page(
    admin: &Arc<Admin>,
    caller: &Caller,
    made: Option<Markup>,
    refused: Option<&Refused<'_>>,
) -> Result<Response, Problem> {
    let of = |form: &str| refused.filter(|refused| refused.form == form);
    let users = users::list(State(Arc::clone(admin))).await?.0.users;
    let tokens = tokens::list(State(Arc::clone(admin))).await?.0.tokens;
    let now = clock::now();
    let main = html! {
        div.head { div { h1 { "Users and tokens" } p.sub {
            "A viewer may look; an operator may also steer; an admin may also set up, and see secrets."
        } } }
        @if let Some(made) = made { (made) }
        section.stack { h2 { "Users" } (user_table(&users, now)) (new_user(of("user"))) }
        section.stack { h2 { "API tokens" } (token_table(&tokens, now)) (new_token(of("token"))) }
    };
    Ok(Frame::of(admin, "Users and tokens", Here::Elsewhere, caller).at("/users").page(&main))
}

/// The fields of name and role of a form to add something.
fn name_and_role(id: &str, label: &str, refused: Option<&Refused>) -> Markup {
    let wrong_with = |field: &str| refused.and_then(|refused| refused.wrong(field));
    let invalid = |field: &str| wrong_with(field).map(|_| "true");
    html! {
        div.field {
            label for=(id) { (label) }
            input.in id=(id) name="name" required maxlength="64" autocapitalize="none" autocomplete="off"
                value=[refused.map(|refused| refused.name)] aria-invalid=[invalid("name")] aria-describedby={ (id) "-e" };
            (wrong(&format!("{id}-e"), wrong_with("name")))
        }
        div.field {
            label for={ (id) "-role" } { "Role" }
            select.in id={ (id) "-role" } name="role" aria-invalid=[invalid("role")] aria-describedby={ (id) "-role-e" } {
                @for role in Role::ALL {
                    option value=(role) selected[refused.is_some_and(|refused| refused.role == role.as_str())] { (role) }
                }
            }
            (wrong(&format!("{id}-role-e"), wrong_with("role")))
        }
    }
}

fn user_table(users: &[shapes::User], now: Timestamp) -> Markup {
    html! {
        @if users.is_empty() { p.soft { "None: only whoever may use the socket on the box." } }
        @else {
            table.rows role="table" {
                caption.hide { "Users" }
                thead role="rowgroup" { tr role="row" {
                    (column("User"))
                    (column("Role"))
                    (number_column("Last login"))
                    (actions_column())
                } }
                tbody role="rowgroup" {
                    @for (index, user) in users.iter().enumerate() {
                        tr role="row" {
                            th role="rowheader" scope="row" { (user.name) }
                            td role="cell" { (role_form(user)) }
                            td.num.soft role="cell" data-l="Last login" {
                                @if user.can_log_in { (when_told(user.login_at.as_deref(), now)) }
                                @else { span.is.none { "has not chosen a password" } }
                            }
                            td.act role="cell" { div.row {
                                form method="post" action={ "/users/" (user.name) "/invite" } {
                                    button.button.plain.little { "New link" }
                                }
                                (asks(&Asked {
                                    id: &format!("remove-user-{index}"),
                                    deed: &format!("Remove {}", user.name),
                                    text: "Open sessions end at once. What this user did stays in the audit log.",
                                    action: &format!("/users/{}/remove", user.name),
                                    class: "plain little",
                                }))
                            } }
                        }
                    }
                }
            }
        }
    }
}

fn role_form(user: &shapes::User) -> Markup {
    html! {
        form.row method="post" action={ "/users/" (user.name) "/role" } {
            select.in name="role" aria-label={ "Role of " (user.name) } {
                @for role in Role::ALL { option value=(role) selected[role.as_str() == user.role] { (role) } }
            }
            button.button.plain.little aria-label={ "Change the role of " (user.name) } { "Change" }
        }
    }
}

fn new_user(refused: Option<&Refused>) -> Markup {
    html! {
        form.row method="post" action="/users" {
            (name_and_role("user", "New user", refused))
            button.button { "Add user" }
        }
    }
}

fn token_table(tokens: &[shapes::ApiToken], now: Timestamp) -> Markup {
    html! {
        @if tokens.is_empty() { p.soft { "None. A token lets a program use the API, such as Prometheus." } }
        @else {
            table.rows role="table" {
                caption.hide { "API tokens" }
                thead role="rowgroup" { tr role="row" {
                    (column("Token"))
                    (column("Role"))
                    (number_column("Good until"))
                    (number_column("Last used"))
                    (actions_column())
                } }
                tbody role="rowgroup" {
                    @for (index, token) in tokens.iter().enumerate() {
                        tr role="row" {
                            th role="rowheader" scope="row" { (token.name) }
                            td role="cell" { (token.role) }
                            td.num.soft role="cell" data-l="Good until" {
                                @match &token.expires_at { Some(at) => { (when_told(Some(at), now)) } None => { "for ever" } }
                            }
                            td.num.soft role="cell" data-l="Last used" { (when_told(token.used_at.as_deref(), now)) }
                            td.act role="cell" {
                                (asks(&Asked {
                                    id: &format!("remove-token-{index}"),
                                    deed: &format!("Remove {}", token.name),
                                    text: "Whatever uses this token is refused from then on.",
                                    action: &format!("/tokens/{}/remove", token.name),
                                    class: "plain little",
                                }))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn new_token(refused: Option<&Refused>) -> Markup {
    let problem = refused.and_then(|refused| refused.wrong("days"));
    html! {
        form.row method="post" action="/tokens" {
            (name_and_role("token", "New token", refused))
            div.field {
                label for="token-days" { "Days that it is good for" }
                input.in #token-days name="days" type="number" min="1" max="3650" value=[refused.map(|refused| refused.days)]
                    aria-invalid=[problem.map(|_| "true")] aria-describedby="token-days-e";
                (wrong("token-days-e", problem))
            }
            button.button { "Make token" }
        }
    }
}

/// Something that is shown once.
fn once(what: &str, secret: &str) -> Markup {
    html! {
        div.notice.boxed role="status" {
            span.is.ok { span.hide { "Done" } }
            div.stack {
                p { strong { (what) } }
                div.copy { span.mono #once { (secret) } button.button.script type="button" data-copy="once" { "Copy" } }
                p { "It is not shown again." }
            }
        }
    }
}

/// `POST /users`.
pub(super) async fn add(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(new): Form<shapes::NewUser>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let (name, role) = (new.name.clone(), new.role.clone());
    let made = match users::add(state, Sent(new)).await {
        Ok((_, Json(made))) => made,
        Err(problem) if is_mendable(&problem) => {
            let (field, text) = (field_of(&problem, &role), sentence(problem.detail()));
            let refused = Refused { form: "user", name: &name, role: &role, days: "", field, text };
            return refused.page(&admin, &caller, status_again(&problem)).await;
        }
        Err(problem) => return Err(problem),
    };
    let link = made.link.unwrap_or_default();
    page(
        &admin,
        &caller,
        Some(once(&format!("The link by which {} chooses a password, good for an hour", made.user.name), &link)),
        None,
    )
    .await
}

/// `POST /users/{name}/invite`.
pub(super) async fn invite(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let edit = shapes::UserEdit { invite: true, ..shapes::UserEdit::default() };
    let Json(made) = users::edit(state, Extension(caller.clone()), name, Sent(edit)).await?;
    let link = made.link.unwrap_or_default();
    page(
        &admin,
        &caller,
        Some(once(&format!("The link by which {} chooses a password, good for an hour", made.user.name), &link)),
        None,
    )
    .await
}

/// What the form of a role sends.
#[derive(Deserialize)]
pub(super) struct NewRole {
    role: String,
}

/// `POST /users/{name}/role`: it counts at once.
pub(super) async fn role(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Form(new): Form<NewRole>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let edit = shapes::UserEdit { role: Some(new.role.clone()), ..shapes::UserEdit::default() };
    match users::edit(state, Extension(caller.clone()), Path(name.clone()), Sent(edit)).await {
        Ok(Json(_)) => Ok(Redirect::to("/users").into_response()),
        Err(problem) if is_mendable(&problem) => {
            page_again(&admin, &caller, &problem, ("The role is not changed", &name, &new.role)).await
        }
        Err(problem) => Err(problem),
    }
}

/// `POST /users/{name}/remove`.
pub(super) async fn remove(
    state: State<Arc<Admin>>,
    caller: Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    users::remove(state, caller, name).await?;
    Ok(Redirect::to("/users").into_response())
}

/// What the form of a new token sends: an empty field of days means for ever.
#[derive(Deserialize)]
pub(super) struct NewToken {
    name: String,
    role: String,
    #[serde(default)]
    days: String,
}

/// `POST /tokens`.
pub(super) async fn add_token(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(new): Form<NewToken>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let (name, role) = (new.name.as_str(), new.role.as_str());
    let refused = |field, text| Refused { form: "token", name, role, days: &new.days, field, text };
    let days = match new.days.trim() {
        "" => None,
        days => match days.parse::<u32>() {
            Ok(days) if days > 0 => Some(days),
            _ => {
                let text = "It is a whole number of days, 1 at least; empty for ever.".to_owned();
                return refused("days", text).page(&admin, &caller, StatusCode::BAD_REQUEST).await;
            }
        },
    };
    let wanted = shapes::NewApiToken { name: name.to_owned(), role: role.to_owned(), days };
    match tokens::add(state, Sent(wanted)).await {
        Ok((_, Json(made))) => {
            page(&admin, &caller, Some(once(&format!("The token {}", made.token.name), &made.secret)), None).await
        }
        Err(problem) if is_mendable(&problem) => {
            let refused = refused(field_of(&problem, role), sentence(problem.detail()));
            refused.page(&admin, &caller, status_again(&problem)).await
        }
        Err(problem) => Err(problem),
    }
}

/// `POST /tokens/{name}/remove`.
pub(super) async fn remove_token(state: State<Arc<Admin>>, name: Path<String>) -> Result<Response, Problem> {
    tokens::remove(state, name).await?;
    Ok(Redirect::to("/users").into_response())
}

/// `GET /audit`.
pub(super) async fn audit(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<audit::Wanted>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (who, what, is_first) = (text(&wanted.who), text(&wanted.what), wanted.before.is_none());
    let narrowed = format!("who={}&what={}", encoded(&who), encoded(&what));
    let list = audit::list(state, Query(wanted)).await?.0;
    let now = clock::now();
    let is_narrowed = !(who.is_empty() && what.is_empty());
    let main = html! {
        div.head {
            div { h1 { "Audit log" } p.sub { "Who changed what, the newest first: on this page, by the API and on the command line." } }
            div.row {
                a.button href={ "/audit/export?format=csv&" (narrowed) } download { "Export as CSV" }
                a.button href={ "/audit/export?format=jsonl&" (narrowed) } download { "As JSON lines" }
            }
        }
        form.filters role="search" {
            input.in.search type="search" name="what" value=(what) placeholder="What was done, or to what" aria-label="What was done, or to what";
            input.in type="search" name="who" value=(who) placeholder="By whom" aria-label="By whom";
            button.button { "Search" }
            @if is_narrowed { a href="/audit" { "Clear" } }
        }
        @if list.entries.is_empty() {
            section.empty {
                @if is_narrowed { h2 { "No entry matches" @if list.next.is_some() { " among the newest" } } }
                @else { h2 { "Nobody has changed anything yet" } }
            }
        } @else { (entries(&list.entries, now)) }
        @if list.next.is_some() || !is_first {
            nav.pager aria-label="Pages" {
                span {}
                span.row {
                    @if !is_first { a.button.little href={ "/audit?" (narrowed) } { "Newest" } }
                    @if let Some(next) = list.next { a.button.little href={ "/audit?" (narrowed) "&before=" (next) } rel="next" { "Older" } }
                }
            }
        }
    };
    Ok(Frame::of(&admin, "Audit log", Here::Elsewhere, &caller).page(&main))
}

/// `GET /audit/export`.
pub(super) async fn export(state: State<Arc<Admin>>, file: Query<audit::File>) -> Result<Response, Problem> {
    audit::export(state, file).await
}

/// To what it was done, without the words of the address: the names that stand where its pattern has braces.
fn subject(target: &str) -> Option<String> {
    static PATTERNS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let pages = super::places().into_iter().map(|place| place.path);
        routes::all::<false>().into_iter().map(|operation| operation.path).chain(pages).collect()
    });
    // Behind the address stands what it does not tell.
    let (address, remark) = target.split_once(": ").map_or((target, None), |(address, remark)| (address, Some(remark)));
    let fits = |pattern: &str| {
        let (mut parts, mut words) = (address.split('/'), pattern.split('/'));
        let mut names = Vec::new();
        loop {
            match (parts.next(), words.next()) {
                (None, None) => return Some(names),
                (Some(part), Some(word)) if word.starts_with('{') => {
                    names.push(percent_decode_str(part).decode_utf8_lossy().into_owned());
                }
                (Some(part), Some(word)) if part == word => {}
                _ => return None,
            }
        }
    };
    let names = PATTERNS.iter().filter_map(|pattern| fits(pattern)).min_by_key(Vec::len);
    // What no pattern of today fits was an address once.
    let subject = names.map_or_else(|| address.to_owned(), |names| names.join("/"));
    let subject = match remark {
        Some(remark) if subject.is_empty() => remark.to_owned(),
        Some(remark) => format!("{subject}: {remark}"),
        None => subject,
    };
    Some(subject).filter(|subject| !subject.is_empty())
}

fn entries(entries: &[shapes::AuditEntry], now: Timestamp) -> Markup {
    html! {
        table.rows role="table" {
            caption.hide { "Audit log, newest first" }
            thead role="rowgroup" { tr role="row" {
                (column("What"))
                (column("Who"))
                (column("Outcome"))
                (number_column("When"))
            } }
            tbody role="rowgroup" {
                @for entry in entries {
                    tr role="row" {
                        th role="rowheader" scope="row" { (entry.what) @if let Some(subject) = subject(&entry.target) { span.under title=(entry.target) { (subject) } } }
                        td role="cell" {
                            (entry.who) " " span.soft { (entry.via) @if let Some(from) = &entry.from { ", " (from) } }
                        }
                        td role="cell" {
                            @match entry.status {
                                Some(status) if status < 400 => { span.is.ok { "Done" } }
                                Some(status) => { span.is.bad { "Refused (" (status) ")" } }
                                None => { span.is.warn { "Did not end" } }
                            }
                        }
                        td.num.soft role="cell" { (when_told(Some(&entry.at), now)) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::subject;

    #[test]
    fn an_address_is_told_by_the_names_in_it() {
        let told = [
            ("/users", None),
            ("/users/vera/remove", Some("vera")),
            ("/organizations/sonar%2Facme/webhook/reveal", Some("sonar/acme")),
            ("/webhooks/sonar/acme/test", Some("sonar/acme")),
            ("/destinations/add", None),
            ("/gone/since/then", Some("/gone/since/then")),
            ("/users: vera, viewer", Some("vera, viewer")),
            ("/users/vera/role: role admin", Some("vera: role admin")),
        ];
        for (target, expected) in told {
            assert_eq!(subject(target).as_deref(), expected, "{target}");
        }
    }
}
