//! Adding a destination and changing one: choosing its kind, its form, and what became of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::fields::{Line, Sheet, Typed, is_mendable, lines, status_again};
use super::super::frame::{Frame, Here};
use super::kinds::{Given, KINDS, Kind};
use crate::admin::answers::{Query, Sent};
use crate::admin::guard::remark;
use crate::admin::{Admin, Problem, destinations, shapes};
use crate::domain::access::Caller;

#[derive(Deserialize)]
pub(in crate::admin::page) struct Chosen {
    kind: Option<String>,
}

/// `GET /destinations/add`: the kinds, or the form of one of them.
pub(in crate::admin::page) async fn choose(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(chosen): Query<Chosen>,
) -> Result<Response, Problem> {
    let Some(word) = chosen.kind else { return Ok(kinds(&admin, &caller)) };
    let kind = Kind::of(&word).ok_or_else(|| no_kind(&word))?;
    Ok(add_page(&admin, &caller, kind, Sheet { typed: &Typed::default(), problem: None }))
}

fn no_kind(word: &str) -> Problem {
    Problem::missing(format!("there is no kind of destination {word:?}")).remedy("choose one under Destinations")
}

fn kinds(admin: &Admin, caller: &Caller) -> Response {
    let main = html! {
        div.head { div {
            (crumbs())
            h1 { "Add a destination" }
            p.sub { "Which platform should be told? There may be several, each at its own pace." }
        } }
        @for kind in KINDS {
            section.item {
                div.ends {
                    h2 { a href={ "/destinations/add?kind=" (kind.word) } { (kind.name) } }
                }
                p.soft { (kind.about) }
            }
        }
    };
    Frame::of(admin, "Add a destination", Here::Destinations, caller).page(&main)
}

fn crumbs() -> Markup {
    html! {
        nav aria-label="You are here" { ol.row.small.soft.crumbs { li { a href="/destinations" { "Destinations" } } } }
    }
}

fn add_page(admin: &Admin, caller: &Caller, kind: &Kind, sheet: Sheet<'_>) -> Response {
    let main = html! {
        div.head { div {
            (crumbs())
            h1 { "Add " (kind.name) }
            p.sub { (kind.about) }
        } }
        (sheet.summary("It is not added yet", "Nothing was told to anybody; everything that you typed is kept, but for secrets."))
        form.stack.loose.narrow method="post" action="/destinations/add" {
            input type="hidden" name="kind" value=(kind.word);
            div.stack {
                (sheet.line(Line {
                    name: "name",
                    label: "Name",
                    help: "What it is called here: letters, digits and - _ .",
                    required: true,
                    ..Line::default()
                }))
                (reaching(kind, sheet, kind.needs_secret(), None))
            }
            (told(kind, sheet, admin.gathers()))
            fieldset.stack {
                legend { h2 { "To begin with" } }
                (sheet.tick("paused", "yes", "Paused, to look at what it would be told first"))
                (sheet.tick("unchecked", "yes", "Add it although it cannot be asked now"))
            }
            div.row { button.button.first { "Save and check" } a.button href="/destinations" { "Cancel" } }
        }
    };
    let title = format!("Add {}", kind.name);
    Frame::of(admin, &title, Here::Destinations, caller).page(&main)
}

/// Where it is, how it is reached, and what only its kind knows.
fn reaching(kind: &Kind, sheet: Sheet<'_>, needs_secret: bool, known: Option<&shapes::Destination>) -> Markup {
    let (label, help, example) = kind.address;
    html! {
        (sheet.line(Line {
            name: "url",
            label,
            help,
            example,
            required: matches!(kind.word, "defectdojo" | "events" | "sarif" | "nats"),
        }))
        @if let Some((label, help)) = kind.secret {
            (sheet.secret(Line {
                name: "secret",
                label,
                help: if known.is_some() { "The present one stays where this is empty. Another server, proxy or certificate needs it again." } else { help },
                required: needs_secret,
                ..Line::default()
            }))
        }
        @for option in kind.options {
            @let name = format!("options.{}", option.name);
            @let line = Line { name: &name, label: option.label, help: option.help, ..Line::default() };
            @match option.given {
                Given::Text => { (sheet.line(line)) }
                Given::Words(words) => { (sheet.choice(line, words)) }
            }
        }
        @if let Some((option, label, example)) = kind.by_project {
            (sheet.area(Line {
                name: &format!("projects.{option}"),
                label,
                help: "The project's key, =, and what is its own.",
                example,
                required: false,
            }))
        }
        @if kind.secret.is_some() { (way(sheet, known)) }
    }
}

/// The way there: rarely needed, and so folded away where nothing is given.
fn way(sheet: Sheet<'_>, known: Option<&shapes::Destination>) -> Markup {
    let has_proxy = known.and_then(|known| known.proxy.as_deref());
    let has_ca = known.is_some_and(|known| known.own_ca);
    let typed = !sheet.typed.text("proxy").is_empty() || !sheet.typed.text("ca_pem").is_empty();
    html! {
        details open[typed] {
            summary { "Proxy and certificates" }
            div.stack {
                (sheet.line(Line {
                    name: "proxy",
                    label: "Proxy",
                    help: if has_proxy.is_some() { "The present one stays where this is empty." }
                        else { "Without one the system's is used." },
                    example: has_proxy.unwrap_or("http://proxy.example:3128"),
                    required: false,
                }))
                @if has_proxy.is_some() { (sheet.tick("no_proxy", "yes", "Take the proxy away")) }
                (sheet.area(Line {
                    name: "ca_pem",
                    label: "Certificates to trust beside the system's",
                    help: if has_ca { "Some are given; what stands here replaces them." }
                        else { "PEM, for a platform with a certificate of your own authority." },
                    example: "-----BEGIN CERTIFICATE-----",
                    required: false,
                }))
                @if has_ca { (sheet.tick("no_ca", "yes", "Trust the system's only")) }
            }
        }
    }
}

/// What it is told. Most are told everything, so that what leaves something out is folded away where nothing does.
fn told(kind: &Kind, sheet: Sheet<'_>, gathers: bool) -> Markup {
    let area = |name, label, help, example| sheet.area(Line { name, label, help, example, required: false });
    let narrowed = FILTERS.iter().any(|name| !sheet.typed.text(name).is_empty());
    let has_sites = gathers || !sheet.typed.text("filter.sites").is_empty();
    html! {
        fieldset.stack {
            legend { h2 { "What is passed on" } }
            details open[narrowed] {
                summary { "Only a part: " @if has_sites { "sites, " } "organizations, projects, branches, severities, kinds" }
                div.stack {
                    p.help { "What is empty stands for all. What the platform has been told of is followed to its end in any case." }
                    @if has_sites {
                        (area("filter.sites", "Sites, one a line", "What this box reads itself is of none of them.", "berlin"))
                    }
                    (area("filter.organizations", "Organizations, one a line", "", ""))
                    (area("filter.projects", "Projects, one a line", "Keys; * stands for anything.", "shop-*"))
                    (area("filter.branches", "Branches, one a line", "Names; * stands for anything.", "release/*"))
                    fieldset { legend { "Severities" } div.row {
                        @for (word, shown) in SEVERITIES { (sheet.tick("filter.severities", word, shown)) }
                    } }
                    fieldset { legend { "Kinds" } div.row {
                        (sheet.tick("filter.kinds", "vulnerability", "Vulnerabilities"))
                        (sheet.tick("filter.kinds", "hotspot", "Security hotspots"))
                    } }
                }
            }
            (sheet.tick("filter.pull_requests", "yes", "Pull requests too"))
            @if kind.has_assets {
                (area("assets", "What assets are called there, one a line", "The asset's name here, =, and its name or number there. Without a line it is the same name.", "Web shop=Shop"))
            }
        }
        @if kind.to_sonar || kind.from_sonar {
            fieldset.stack {
                legend { h2 { "Decisions" } }
                p.help { "A finding that somebody accepts or calls a false positive. Both are off until you want them." }
                @if kind.to_sonar { (sheet.tick("triage.to_sonar", "yes", "What is decided there is told to Sonar")) }
                @if kind.from_sonar { (sheet.tick("triage.from_sonar", "yes", "What is decided in Sonar is told there")) }
            }
        }
    }
}

const FILTERS: [&str; 6] =
    ["filter.sites", "filter.organizations", "filter.projects", "filter.branches", "filter.severities", "filter.kinds"];

const SEVERITIES: [(&str, &str); 5] =
    [("critical", "Critical"), ("high", "High"), ("medium", "Medium"), ("low", "Low"), ("info", "Info")];

/// `POST /destinations/add`.
pub(in crate::admin::page) async fn add(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let kind = Kind::of(typed.text("kind")).ok_or_else(|| no_kind(typed.text("kind")))?;
    let done = match new(kind, &typed) {
        Ok(new) => destinations::add(State(Arc::clone(&admin)), Sent(new)).await,
        Err(problem) => Err(problem),
    };
    match done {
        Ok((_, Json(made))) => Ok(added(&admin, &caller, kind, &made)),
        Err(problem) if is_mendable(&problem) => {
            let page = add_page(&admin, &caller, kind, Sheet { typed: &typed, problem: Some(&problem) });
            Ok((status_again(&problem), page).into_response())
        }
        Err(problem) => Err(problem),
    }
}

fn added(admin: &Admin, caller: &Caller, kind: &Kind, made: &shapes::DestinationCheck) -> Response {
    let name = &made.destination.name;
    let paused = made.destination.state == "paused";
    let main = html! {
        div.head { div {
            (crumbs())
            h1 { (name) " is added" }
            p.sub {
                @if paused { "It is told nothing until you resume it." }
                @else { "It is told what is open now, and every change from here on." }
            }
        } }
        @if let Some(secret) = &made.secret {
            div.notice.boxed role="status" {
                span.is.warn { span.hide { "Keep it" } }
                div.stack {
                    p { strong { "Give this secret to the receiver now: it is not shown again" } }
                    div.copy { span.mono #once { (&**secret) } button.button.script type="button" data-copy="once" { "Copy" } }
                }
            }
        }
        @if !made.lines.is_empty() {
            section.stack { h2 { "What " (kind.name) " says" } (lines(&made.lines)) }
        }
        div.row {
            a.button.first href={ "/destinations/" (name) "/preview" } { "What it would be told" }
            a.button href={ "/destinations#d-" (name) } { "To the destinations" }
        }
    };
    let title = format!("{name} is added");
    let page = Frame::of(admin, &title, Here::Destinations, caller).page(&main);
    (StatusCode::CREATED, page).into_response()
}

fn new(kind: &Kind, typed: &Typed) -> Result<shapes::NewDestination, Problem> {
    let mut options = BTreeMap::new();
    for option in kind.options {
        options.extend(typed.given(&format!("options.{}", option.name)).map(|value| (option.name.to_owned(), value)));
    }
    options.extend(by_project(kind, typed)?);
    Ok(shapes::NewDestination {
        name: typed.text("name").to_owned(),
        kind: kind.word.to_owned(),
        url: typed.given("url"),
        secret: typed.given("secret").map(Into::into),
        options,
        ca_pem: typed.given("ca_pem"),
        proxy: typed.given("proxy").map(Into::into),
        filter: filter(typed),
        assets: pairs(typed, "assets")?,
        triage: shapes::Triage {
            to_sonar: kind.to_sonar && typed.ticked("triage.to_sonar"),
            from_sonar: kind.from_sonar && typed.ticked("triage.from_sonar"),
        },
        paused: typed.ticked("paused"),
        unchecked: typed.ticked("unchecked"),
    })
}

fn filter(typed: &Typed) -> shapes::DestinationFilter {
    shapes::DestinationFilter {
        organizations: typed.lines("filter.organizations"),
        projects: typed.lines("filter.projects"),
        branches: typed.lines("filter.branches"),
        severities: typed.all("filter.severities").map(str::to_owned).collect(),
        kinds: typed.all("filter.kinds").map(str::to_owned).collect(),
        pull_requests: typed.ticked("filter.pull_requests"),
        sites: typed.lines("filter.sites"),
    }
}

/// Options of single projects, as the API calls them.
fn by_project(kind: &Kind, typed: &Typed) -> Result<BTreeMap<String, String>, Problem> {
    let Some((option, ..)) = kind.by_project else { return Ok(BTreeMap::new()) };
    let own = pairs(typed, &format!("projects.{option}"))?;
    Ok(own.into_iter().map(|(project, value)| (format!("{option}.{project}"), value)).collect())
}

/// Lines of `NAME=VALUE`.
fn pairs(typed: &Typed, name: &str) -> Result<BTreeMap<String, String>, Problem> {
    let pair = |line: String| match line.split_once('=') {
        Some((left, right)) if !left.trim().is_empty() && !right.trim().is_empty() => {
            Ok((left.trim().to_owned(), right.trim().to_owned()))
        }
        _ => Err(Problem::bad(format!("{line:?} has no = with something on both sides of it")).at(name)),
    };
    typed.lines(name).into_iter().map(pair).collect()
}

/// `GET /destinations/{name}/edit`.
pub(in crate::admin::page) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let known = destinations::show(state, name).await?.0;
    let kind = Kind::of(&known.kind).ok_or_else(|| no_kind(&known.kind))?;
    let typed = as_typed(kind, &known);
    Ok(edit_page(&admin, &caller, (kind, &known), Sheet { typed: &typed, problem: None }))
}

fn edit_page(
    admin: &Admin,
    caller: &Caller,
    (kind, known): (&Kind, &shapes::Destination),
    sheet: Sheet<'_>,
) -> Response {
    let main = html! {
        div.head { div {
            (crumbs())
            h1 { "Change " (known.name) }
            p.sub {
                "A narrower filter closes nothing on DefectDojo and Conviso. Another server is a destination of its own: "
                a href={ "/destinations/add?kind=" (kind.word) } { "add it" } "."
            }
        } }
        (sheet.summary("It is not changed yet", "It goes on as it was; everything that you typed is kept, but for secrets."))
        form.stack.loose.narrow method="post" action={ "/destinations/" (known.name) "/edit" } {
            div.stack { (reaching(kind, sheet, false, Some(known))) }
            (told(kind, sheet, admin.gathers()))
            (sheet.tick("unchecked", "yes", "Save it although it cannot be asked now"))
            div.row { button.button.first { "Save and check" } a.button href={ "/destinations#d-" (known.name) } { "Cancel" } }
        }
        section {
            div.ends { h2 { "Remove" } }
            p.soft { "Nothing is closed there, and what it was told is forgotten here." }
            div.row { a.button.danger href={ "/destinations/" (known.name) "/remove" } { "Remove " (known.name) " …" } }
        }
    };
    let title = format!("Change {}", known.name);
    Frame::of(admin, &title, Here::Destinations, caller).page(&main)
}

/// A destination as its form shows it.
fn as_typed(kind: &Kind, known: &shapes::Destination) -> Typed {
    let mut typed = Typed::default();
    typed.put("url", &*known.url);
    for option in kind.options {
        if let Some(value) = known.options.get(option.name) {
            typed.put(format!("options.{}", option.name), value);
        }
    }
    if let Some((option, ..)) = kind.by_project {
        let own = known.options.iter().filter_map(|(name, value)| {
            let project = name.strip_prefix(option)?.strip_prefix('.')?;
            Some(format!("{project}={value}"))
        });
        typed.put(format!("projects.{option}"), own.collect::<Vec<_>>().join("\n"));
    }
    let filter = &known.filter;
    for (name, list) in [
        ("organizations", &filter.organizations),
        ("projects", &filter.projects),
        ("branches", &filter.branches),
        ("sites", &filter.sites),
    ] {
        typed.put(format!("filter.{name}"), list.join("\n"));
    }
    for (name, list) in [("severities", &filter.severities), ("kinds", &filter.kinds)] {
        for word in list {
            typed.put(format!("filter.{name}"), word);
        }
    }
    for (name, on) in [
        ("filter.pull_requests", filter.pull_requests),
        ("triage.to_sonar", known.triage.to_sonar),
        ("triage.from_sonar", known.triage.from_sonar),
    ] {
        if on {
            typed.put(name, "yes");
        }
    }
    let assets: Vec<_> = known.assets.iter().map(|(asset, name)| format!("{asset}={name}")).collect();
    typed.put("assets", assets.join("\n"));
    typed
}

/// `POST /destinations/{name}/edit`.
pub(in crate::admin::page) async fn save(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let known = destinations::show(State(Arc::clone(&admin)), Path(name.clone())).await?.0;
    let kind = Kind::of(&known.kind).ok_or_else(|| no_kind(&known.kind))?;
    let asking = caller.clone();
    let done = match edit(kind, &known, &typed) {
        Ok(edit) => {
            remark(&destinations::edit::members(&edit));
            admin.run(move |admin| destinations::edit::edited(admin, &asking, &name, edit)).await
        }
        Err(problem) => Err(problem),
    };
    match done {
        Ok(check) => super::list_with(&admin, &caller, super::Said::of(check)).await,
        Err(problem) if is_mendable(&problem) => {
            let page = edit_page(&admin, &caller, (kind, &known), Sheet { typed: &typed, problem: Some(&problem) });
            Ok((status_again(&problem), page).into_response())
        }
        Err(problem) => Err(problem),
    }
}

fn edit(kind: &Kind, known: &shapes::Destination, typed: &Typed) -> Result<shapes::DestinationEdit, Problem> {
    // What stands in the form no more is taken away, what the form does not know is left alone.
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    for option in kind.options {
        options.insert(option.name.to_owned(), typed.text(&format!("options.{}", option.name)).to_owned());
    }
    if let Some((option, ..)) = kind.by_project {
        let of_projects =
            known.options.keys().filter(|name| name.strip_prefix(option).is_some_and(|rest| rest.starts_with('.')));
        options.extend(of_projects.map(|name| (name.clone(), String::new())));
        options.extend(by_project(kind, typed)?);
    }
    let mut assets: BTreeMap<String, String> = BTreeMap::new();
    if kind.has_assets {
        assets.extend(known.assets.keys().map(|asset| (asset.clone(), String::new())));
        assets.extend(pairs(typed, "assets")?);
    }
    let taken = |box_name: &str, name: &str| {
        if typed.ticked(box_name) { Some(String::new()) } else { typed.given(name) }
    };
    Ok(shapes::DestinationEdit {
        url: typed.given("url"),
        secret: typed.given("secret").map(Into::into),
        options,
        filter: Some(filter(typed)),
        assets,
        triage: Some(shapes::TriageEdit {
            to_sonar: kind.to_sonar.then(|| typed.ticked("triage.to_sonar")),
            from_sonar: kind.from_sonar.then(|| typed.ticked("triage.from_sonar")),
        }),
        paused: None,
        ca_pem: taken("no_ca", "ca_pem"),
        proxy: taken("no_proxy", "proxy").map(Into::into),
        check: !typed.ticked("unchecked"),
    })
}
