//! Asking Conviso: one document after the other, no faster than it allows, and what its refusals mean.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use serde_json::{Value, json};
use ureq::http::{HeaderName, Method, header};

use super::documents::{ASSETS, ASSETS_PLAIN, BATCH, ENUM, INPUT, ISSUES, ISSUES_PLAIN, Mutation, OPERATIONS};
use super::documents::{MUTATIONS, QUERY_INPUTS};
use super::schema::{self, BATCH_FINDING, BATCH_SAST, BATCH_SECRET, STATUSES, Schema, TOOLS};
use super::wire::{Failure, Issue, Reply, id, id_value, sentence};
use crate::domain::destination::Destination;
use crate::domain::limits::{
    CONVISO_ASSET_PAGES_MAX, CONVISO_ISSUE_PAGES_MAX, CONVISO_PAGE, CONVISO_PAGE_SMALL, CONVISO_RATE,
};
use crate::domain::pace::{Heard, Leave, Pace};
use crate::platform::http::{Answer, Http};
use crate::platform::{BadDestination, Trouble};
use crate::sys::clock::Clock;
use crate::sys::trust::Trust;

/// The way to one company of Conviso.
pub(super) struct Client {
    http: Http,
    url: String,
    company: String,
    pace: Pace,
    clock: Clock,
    schema: Option<Schema>,
    /// Whether the server knows only the plain form of a query.
    plain_issues: bool,
    plain_assets: bool,
    /// How many it gives at once.
    page_size: usize,
}

/// Why a document brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failed {
    /// Nothing can be asked now.
    Trouble(Trouble),
    /// The server refuses this document or these values.
    Refused {
        /// Whether it did not even begin: it does not know a field, an argument or a value.
        invalid: bool,
        /// What it says.
        failure: Failure,
    },
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Trouble(trouble) => trouble,
            Failed::Refused { failure, .. } => Self::refused(
                format!("Conviso refuses a request: {}", failure.message),
                "its API may have changed; see what `check` says, and report it",
            ),
        }
    }
}

/// An asset as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asset {
    pub(super) id: String,
    pub(super) name: String,
    /// What else writes into it.
    pub(super) integrations: Vec<String>,
    /// Host, organization and name of its repository.
    pub(super) repository: Option<String>,
}

/// A page of issues.
struct Page {
    issues: Vec<Issue>,
    /// Ids of rows that cannot be read.
    unread: Vec<Option<String>>,
    /// How many pages there are, where the server says it.
    pages: Option<usize>,
    /// Whether there is a list at all.
    is_list: bool,
}

/// What is shown of issues that were asked for by their ids.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Those that are.
    pub(super) issues: BTreeMap<String, Issue>,
    /// Those that are shown in a form that cannot be read.
    unread: BTreeSet<String>,
    /// Whether some of the answer is not known, so that nothing is surely lacking.
    partial: bool,
}

impl Shown {
    /// Whether the server says that there is no such issue.
    pub(super) fn lacks(&self, id: &str) -> bool {
        !self.partial && !self.issues.contains_key(id) && !self.unread.contains(id)
    }

    /// Adds what is shown of others.
    pub(super) fn join(&mut self, other: Self) {
        self.issues.extend(other.issues);
        self.unread.extend(other.unread);
        self.partial |= other.partial;
    }

    fn take(&mut self, page: Page) {
        self.partial |= !page.is_list || page.pages.is_none() || page.unread.contains(&None);
        self.issues.extend(page.issues.into_iter().map(|issue| (issue.id.clone(), issue)));
        self.unread.extend(page.unread.into_iter().flatten());
    }
}

impl Client {
    /// Checks what was given; nothing is sent.
    pub(super) fn new(
        destination: &Destination,
        key: &str,
        company: &str,
        trust: &Trust,
    ) -> Result<Self, BadDestination> {
        let name = HeaderName::from_static("x-api-key");
        let http = Http::new(destination, trust)?.with_secret_header(name, key)?;
        // The slash that an address of a folder ends with is none of this one's.
        let whole = http.url("");
        let bare = whole.trim_end_matches('/');
        let has_path = bare.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let url = if has_path { bare.to_owned() } else { format!("{bare}/graphql") };
        let clock = Clock::system();
        let pace = Pace::new(clock.steady());
        Ok(Self {
            http,
            url,
            company: company.to_owned(),
            pace,
            clock,
            schema: None,
            plain_issues: false,
            plain_assets: false,
            page_size: CONVISO_PAGE,
        })
    }

    /// Where it asks.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The company's id as it is sent.
    pub(super) fn company(&self) -> Value {
        id_value(&self.company)
    }

    /// Asks one document.
    pub(super) fn ask(&mut self, document: &str, variables: &Value) -> Result<Value, Failed> {
        self.wait().map_err(Failed::Trouble)?;
        let body = json!({ "query": document, "variables": variables }).to_string().into_bytes();
        let content = [(header::CONTENT_TYPE, "application/json".to_owned())];
        let answer = self.http.send(Method::POST, &self.url, &content, body).map_err(Failed::Trouble)?;
        let heard = match answer.status {
            429 => Heard::Pause { status: 429, retry_after: answer.retry_after() },
            _ => Heard::Answer,
        };
        self.pace.note(CONVISO_RATE, heard, self.clock.steady());
        self.judge(&answer)
    }

    /// Asks a mutation, with an input of the type that the schema says.
    pub(super) fn mutate(&mut self, mutation: Mutation, input: &Value) -> Result<Value, Failed> {
        let of = self.schema.as_ref().and_then(|schema| schema.mutations.get(mutation.name));
        let document = mutation.document(of.map(String::as_str));
        let mut data = self.ask(&document, &json!({ "input": input }))?;
        Ok(data[mutation.name].take())
    }

    /// Waits for its turn. At this rate that is a moment; a pause that Conviso asked for is left to the caller.
    fn wait(&mut self) -> Result<(), Trouble> {
        loop {
            match self.pace.ask(CONVISO_RATE, true, self.clock.steady()) {
                Leave::Go => return Ok(()),
                Leave::Wait(span) => thread::sleep(span),
                Leave::Paused(span) => {
                    let why = format!("{} asked for a pause (HTTP 429)", self.http.host());
                    return Err(Trouble::Later { why, after: Some(span) });
                }
            }
        }
    }

    fn judge(&self, answer: &Answer) -> Result<Value, Failed> {
        let host = self.http.host();
        let refused = |why: String, remedy: &str| Err(Failed::Trouble(Trouble::refused(why, remedy)));
        match answer.status {
            401 => return refused(format!("{host} does not accept the API key (HTTP 401)"), NEW_KEY),
            403 => return refused(format!("{host} does not let this API key in (HTTP 403)"), RIGHTS),
            404 | 405 => {
                let why = format!("{} is no address of Conviso's API (HTTP {})", self.url, answer.status);
                return refused(why, ADDRESS);
            }
            429 => {
                let left = self.pace.pause(self.clock.steady()).map(|pause| pause.left);
                let why = format!("{host} asks for a pause (HTTP 429)");
                return Err(Failed::Trouble(Trouble::Later { why, after: left }));
            }
            _ => {}
        }
        if let Some(trouble) = answer.trouble() {
            return Err(Failed::Trouble(trouble));
        }
        let trimmed = answer.body.trim_ascii();
        if trimmed.first() == Some(&b'{') && trimmed.last() != Some(&b'}') {
            return Err(Failed::Trouble(Trouble::later(format!("the answer of {host} was cut short"))));
        }
        let reply: Reply = answer.read().map_err(Failed::Trouble)?;
        match (reply.errors.into_iter().next(), reply.data) {
            (Some(failure), _) => Err(self.failed(failure, !reply.begun)),
            (None, Some(data)) if data.is_object() => Ok(data),
            _ => refused(format!("{} answers, but not as Conviso's API does", self.url), ADDRESS),
        }
    }

    /// What an error in an answer means for the caller.
    fn failed(&self, failure: Failure, invalid: bool) -> Failed {
        let host = self.http.host();
        let Failure { message, code } = &failure;
        let says = |words: &[&str]| words.iter().any(|word| code.contains(word));
        let lower = message.to_ascii_lowercase();
        if says(&["UNAUTHENTICATED"]) {
            return Failed::Trouble(Trouble::refused(
                format!("{host} does not accept the API key: {message}"),
                NEW_KEY,
            ));
        }
        if says(&["FORBIDDEN", "UNAUTHORIZED", "PERMISSION"]) || lower.contains("not authorized") {
            return Failed::Trouble(Trouble::refused(format!("{host} does not permit it: {message}"), RIGHTS));
        }
        if says(&["THROTTL", "RATE_LIMIT", "TOO_MANY", "INTERNAL", "TIMEOUT", "UNAVAILABLE"]) {
            return Failed::Trouble(Trouble::later(format!("{host} cannot answer for now: {message}")));
        }
        Failed::Refused { invalid, failure }
    }

    /// Lets the schema be asked for anew: it may have changed.
    pub(super) fn forget_schema(&mut self) {
        self.schema = None;
        (self.plain_issues, self.plain_assets) = (false, false);
    }

    /// What the account's schema offers, asked for once.
    pub(super) fn schema(&mut self) -> Result<&Schema, Trouble> {
        if self.schema.is_none() {
            let learnt = match self.learn() {
                Ok(schema) if schema.mutations.is_empty() => Schema::assumed(),
                Ok(schema) => schema,
                Err(Failed::Refused { .. }) => Schema::assumed(),
                Err(Failed::Trouble(trouble)) => return Err(trouble),
            };
            self.schema = Some(learnt);
        }
        Ok(self.schema.as_ref().expect("it was just learnt"))
    }

    fn learn(&mut self) -> Result<Schema, Failed> {
        let mut schema = Schema::default();
        let operations = schema::operations(&self.ask(OPERATIONS, &json!({ "name": "Mutation" }))?);
        for (name, arguments) in operations {
            if let Some(input) = arguments.get("input") {
                schema.mutations.insert(name, input.clone());
            }
        }
        schema.queries = schema::operations(&self.ask(OPERATIONS, &json!({ "name": "Query" }))?);
        for mutation in MUTATIONS {
            if let Some(input) = schema.mutations.get(mutation.name) {
                let members = schema::members(&self.ask(INPUT, &json!({ "name": input }))?);
                schema.inputs.insert(mutation.name.to_owned(), members);
            }
        }
        // A batch has one member for each kind of finding.
        for (outer, member, inner) in [
            (BATCH.name, "findings", BATCH_FINDING),
            (BATCH_FINDING, "sast", BATCH_SAST),
            (BATCH_FINDING, "secret", BATCH_SECRET),
        ] {
            let of = schema.inputs.get(outer).and_then(|members| members.get(member)).map(|member| member.of.clone());
            if let Some(of) = of {
                let members = schema::members(&self.ask(INPUT, &json!({ "name": of }))?);
                schema.inputs.insert(inner.to_owned(), members);
            }
        }
        schema.tools = schema::values(&self.ask(ENUM, &json!({ "name": TOOLS }))?);
        schema.statuses = schema::values(&self.ask(ENUM, &json!({ "name": STATUSES }))?).into_iter().collect();
        Ok(schema)
    }

    /// A query with its inputs named as the schema names them.
    fn named(&self, document: &str) -> String {
        let mut text = document.to_owned();
        for (operation, argument, usual) in QUERY_INPUTS {
            let known = self.schema.as_ref().and_then(|schema| schema.queries.get(*operation)?.get(*argument));
            if let Some(name) = known {
                text = text.replace(usual, name);
            }
        }
        text
    }

    /// One page of issues.
    fn issues(&mut self, page: usize, filters: &Value, sort: (&str, &str)) -> Result<Page, Trouble> {
        self.schema()?;
        loop {
            let variables = json!({
                "companyId": self.company(),
                "pagination": { "page": page, "perPage": self.page_size },
                "filters": filters,
                "sortOptions": [{ "sortBy": sort.0, "order": sort.1 }],
            });
            let document = self.named(if self.plain_issues { ISSUES_PLAIN } else { ISSUES });
            match self.ask(&document, &variables) {
                Ok(data) => return Ok(read_issues(&data)),
                Err(Failed::Refused { invalid: true, .. }) if !self.plain_issues => self.plain_issues = true,
                // How many it gives at once is not documented. Later pages would be others if their size changed.
                Err(Failed::Refused { .. }) if page == 1 && self.page_size > CONVISO_PAGE_SMALL => {
                    self.page_size = CONVISO_PAGE_SMALL;
                    self.plain_issues = false;
                }
                Err(failed) => return Err(failed.into()),
            }
        }
    }

    /// Walks through issues, page by page, until `each` has enough. Says whether it came to an end.
    pub(super) fn each_issue(
        &mut self,
        filters: &Value,
        sort: (&str, &str),
        mut each: impl FnMut(Issue) -> bool,
    ) -> Result<bool, Trouble> {
        for page in 1..=CONVISO_ISSUE_PAGES_MAX {
            let Page { issues, pages, .. } = self.issues(page, filters, sort)?;
            let empty = issues.is_empty();
            for issue in issues {
                if !each(issue) {
                    return Ok(true);
                }
            }
            if empty || page >= pages.unwrap_or(1) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Issues by their ids.
    pub(super) fn issues_by_id(&mut self, ids: &[String]) -> Result<Vec<Issue>, Trouble> {
        let mut found = Vec::new();
        if !ids.is_empty() {
            let ids: Vec<Value> = ids.iter().map(|one| id_value(one)).collect();
            self.each_issue(&json!({ "ids": ids }), ("ID", "ASC"), |issue| {
                found.push(issue);
                // A server that does not know the filter lists all that there are.
                found.len() < ids.len()
            })?;
        }
        Ok(found)
    }

    /// Issues by their ids, and whether the others are surely not there.
    pub(super) fn shown(&mut self, ids: &[String]) -> Result<Shown, Trouble> {
        let mut shown = Shown::default();
        let filters = json!({ "ids": ids.iter().map(|one| id_value(one)).collect::<Vec<_>>() });
        for number in 1..=CONVISO_ISSUE_PAGES_MAX {
            let page = self.issues(number, &filters, ("ID", "ASC"))?;
            let last = number >= page.pages.unwrap_or(1) || (page.issues.is_empty() && page.unread.is_empty());
            shown.take(page);
            if last {
                return Ok(shown);
            }
            // A server that does not know the filter lists all that there are.
            if shown.issues.len() + shown.unread.len() > ids.len() {
                break;
            }
        }
        shown.partial = true;
        Ok(shown)
    }

    /// One page of assets, and how many pages there are.
    fn assets(&mut self, page: usize, name: Option<&str>) -> Result<(Vec<Asset>, usize), Trouble> {
        self.schema()?;
        let search = name.map_or_else(|| json!({}), |name| json!({ "name": name }));
        loop {
            let variables = json!({
                "companyId": self.company(), "page": page, "limit": self.page_size, "search": search,
            });
            let document = self.named(if self.plain_assets { ASSETS_PLAIN } else { ASSETS });
            match self.ask(&document, &variables) {
                Ok(data) => return Ok(read_assets(&data)),
                Err(Failed::Refused { invalid: true, .. }) if !self.plain_assets => self.plain_assets = true,
                Err(Failed::Refused { .. }) if page == 1 && self.page_size > CONVISO_PAGE_SMALL => {
                    self.page_size = CONVISO_PAGE_SMALL;
                    self.plain_assets = false;
                }
                Err(failed) => return Err(failed.into()),
            }
        }
    }

    /// Assets by a part of their name, or all, until `each` has enough.
    pub(super) fn each_asset(
        &mut self,
        name: Option<&str>,
        mut each: impl FnMut(Asset) -> bool,
    ) -> Result<(), Trouble> {
        for page in 1..=CONVISO_ASSET_PAGES_MAX {
            let (assets, pages) = self.assets(page, name)?;
            let empty = assets.is_empty();
            for asset in assets {
                if !each(asset) {
                    return Ok(());
                }
            }
            if empty || page >= pages {
                break;
            }
        }
        Ok(())
    }
}

fn read_issues(data: &Value) -> Page {
    let rows = data["issues"]["collection"].as_array();
    let mut page =
        Page { issues: Vec::new(), unread: Vec::new(), pages: pages(&data["issues"]), is_list: rows.is_some() };
    for row in rows.into_iter().flatten() {
        match Issue::read(row) {
            Some(issue) => page.issues.push(issue),
            None => page.unread.push(id(&row["id"])),
        }
    }
    page
}

fn read_assets(data: &Value) -> (Vec<Asset>, usize) {
    let asset = |one: &Value| {
        let integrations = one["integrations"].as_array().into_iter().flatten();
        Some(Asset {
            id: id(&one["id"])?,
            name: one["name"].as_str()?.to_owned(),
            integrations: integrations.filter_map(|value| value.as_str().map(sentence)).collect(),
            repository: one["repositoryDetail"]["repositoryKey"].as_str().map(str::to_owned),
        })
    };
    let assets = data["assets"]["collection"].as_array().into_iter().flatten().filter_map(asset).collect();
    (assets, pages(&data["assets"]).unwrap_or(1))
}

/// Whatever the answer is to. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(body: &[u8]) {
    let Ok(reply) = serde_json::from_slice::<Reply>(body) else { return };
    assert!(reply.errors.iter().all(|failure| failure.message.chars().count() <= 300));
    let Some(data) = reply.data else { return };
    let page = read_issues(&data);
    assert!(page.issues.iter().all(|issue| issue.id.len() <= 200));
    drop(read_assets(&data));
    drop(schema::operations(&data));
    drop(schema::members(&data));
    drop(schema::values(&data));
}

fn pages(list: &Value) -> Option<usize> {
    list["metadata"]["totalPages"].as_u64().and_then(|pages| pages.try_into().ok())
}

/// What helps against a key that is not accepted.
const NEW_KEY: &str =
    "make a new one in Conviso (Security Feed, Quick Actions), as a newer key ends the older, and give it again";
/// What helps against missing rights.
const RIGHTS: &str = "give the key's user the right to it in Conviso, or use the key of a user who has it";
/// What helps against a wrong address.
const ADDRESS: &str = "the address is usually https://api.convisoappsec.com/graphql; check it";
