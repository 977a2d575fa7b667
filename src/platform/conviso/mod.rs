//! Conviso Platform, over its GraphQL API.
//!
//! The address is that of the API, `https://api.convisoappsec.com/graphql`; without a path `/graphql` is meant. The
//! secret is an API key (`x-api-key`). A key carries its user's rights, and a user has one: a newer key ends the older,
//! so the gateway should have a user of its own.
//!
//! Options:
//!
//! - `company` (has to be given): the company's id, the number in the address of Conviso's pages.
//! - `business-impact`: `LOW`, `MEDIUM`, `HIGH` or `NOT_DEFINED`, for assets that are made. Without one Conviso gives
//!   their findings no deadline.
//! - `repository-url`: the clone address of the projects' repositories, in which `{organization}`, `{project}` and
//!   `{name}` stand for Sonar's keys and the project's name. Only with it can Conviso tell branches apart: it takes
//!   repository and branch together or not at all.
//! - `repository-url.PROJECT`: the same for the one project with this key; empty for none.
//!
//! Findings go to the asset of the same name, or the one whose name or id this box's asset is mapped to; one that is
//! not there is made. Open findings that nobody has looked at stay `CREATED` there. Decisions of people there
//! (`RISK_ACCEPTED`, `FALSE_POSITIVE`, `SUPPRESSED`) are never undone; `IN_PROGRESS` and `AWAITING_VALIDATION` end only
//! when a finding is gone or decided.
//!
//! What is known of this API comes from its published clients and documents. Where those are silent, what the account's
//! schema says is followed, and nothing is built on one guess: see `tests/support/conviso` for the list of guesses.

mod assets;
mod client;
mod compare;
mod documents;
mod report;
mod schema;
mod status;
mod tell;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use self::assets::Wanted;
use self::client::Client;
pub(super) use self::status::WORDS;
use self::tell::{Item, Memory, Telling};
use self::wire::Issue;
use super::{
    Abilities, BadDestination, Decision, Finding, Known, Manner, Offer, Platform, Polled, Pushed, Seen, Told, Trouble,
};
use crate::domain::destination::{Destination, Mapping};
use crate::domain::ids::{AssetName, FindingId, ScopeKind};
use crate::domain::limits::CONVISO_PUSH_MAX;
use crate::domain::message::{Message, Place, Remote, Target};
use crate::domain::time::Timestamp;
use crate::sys::clock::{self, Clock};
use crate::sys::trust::Trust;

/// One company on Conviso.
pub(super) struct Conviso {
    client: Client,
    options: Options,
    names: BTreeMap<AssetName, String>,
    mapping: Mapping,
    memory: Memory,
    /// Assets that turned out to be gone.
    gone: BTreeSet<String>,
    /// Issues that were not shown when none of their asset was, and since when, by the clock's steady count.
    doubted: BTreeMap<String, Duration>,
    clock: Clock,
}

/// What was given beside address and key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    company: String,
    business_impact: Option<String>,
    repository_url: Option<String>,
    repository_urls: BTreeMap<String, String>,
}

impl Options {
    fn read(destination: &Destination) -> Result<Self, BadDestination> {
        let bad = |text: String| Err(BadDestination(text));
        let mut options = Self {
            company: String::new(),
            business_impact: None,
            repository_url: None,
            repository_urls: BTreeMap::new(),
        };
        for (name, value) in &destination.options {
            let value = value.trim();
            match name.as_str() {
                "company" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                    value.clone_into(&mut options.company);
                }
                "company" => {
                    return bad(format!(
                        "company {value:?} is no id of a company; it is the number in the address of Conviso's pages, \
                         as in /spa/company/123"
                    ));
                }
                "business-impact" => {
                    let word = value.to_ascii_uppercase();
                    if !IMPACTS.contains(&word.as_str()) {
                        return bad(format!("business-impact {value:?} is none of: {}", IMPACTS.join(", ")));
                    }
                    options.business_impact = Some(word);
                }
                "repository-url" => options.repository_url = Some(repository(name, value)?),
                other => match other.strip_prefix("repository-url.") {
                    Some(project) if !project.is_empty() => {
                        let url = if value.is_empty() { String::new() } else { repository(name, value)? };
                        options.repository_urls.insert(project.to_owned(), url);
                    }
                    _ => {
                        return bad(format!(
                            "{other:?} is no option of conviso; they are: company, business-impact, repository-url, \
                             repository-url.PROJECT"
                        ));
                    }
                },
            }
        }
        if options.company.is_empty() {
            return bad("conviso needs the option company: the number in the address of its pages, as in \
                        /spa/company/123"
                .to_owned());
        }
        Ok(options)
    }

    /// The clone address of a project's repository.
    fn repository(&self, place: &Place) -> Option<String> {
        if let Some(own) = self.repository_urls.get(place.project.as_str()) {
            return (!own.is_empty()).then(|| own.clone());
        }
        if place.repository.is_some() {
            return place.repository.clone();
        }
        let pattern = self.repository_url.as_deref()?;
        let url = pattern
            .replace("{organization}", place.organization.as_str())
            .replace("{project}", place.project.as_str())
            .replace("{name}", &place.project_name);
        Some(url)
    }
}

fn repository(option: &str, value: &str) -> Result<String, BadDestination> {
    let is_address = ["https://", "http://", "ssh://", "git@"].iter().any(|start| value.starts_with(start));
    if is_address && !value.contains(char::is_whitespace) {
        return Ok(value.to_owned());
    }
    Err(BadDestination(format!(
        "{option} {value:?} is no clone address of a repository; one looks like https://git.example/{{organization}}/{{project}}.git"
    )))
}

/// Makes the platform.
///
/// # Errors
/// If address, options or key cannot be right.
pub(super) fn open(destination: &Destination, secret: Option<&str>, trust: &Trust) -> Result<Conviso, BadDestination> {
    let options = Options::read(destination)?;
    let key = secret.map(str::trim).filter(|key| !key.is_empty()).ok_or_else(|| {
        BadDestination(
            "conviso needs an API key; make one in Conviso (Security Feed, Quick Actions) and give it as the secret"
                .to_owned(),
        )
    })?;
    Ok(Conviso {
        client: Client::new(destination, key, &options.company, trust)?,
        options,
        names: destination.assets.clone(),
        mapping: destination.mapping.clone(),
        memory: Memory::default(),
        gone: BTreeSet::new(),
        doubted: BTreeMap::new(),
        clock: Clock::system(),
    })
}

impl Conviso {
    /// By another clock than the system's, where time passes between two looks at what was told.
    pub(super) fn by(self, clock: &Clock) -> Self {
        Self { clock: clock.clone(), ..self }
    }
}

impl Platform for Conviso {
    fn abilities(&self) -> Abilities {
        Abilities { manner: Manner::Findings, batch_max: CONVISO_PUSH_MAX, decisions: true, words: WORDS }
    }

    fn check(&mut self) -> Result<Vec<Finding>, Trouble> {
        report::check(&mut self.client, &self.mapping, &self.names)
    }

    fn offers(&mut self, search: Option<&str>) -> Result<Vec<Offer>, Trouble> {
        let mut offers = Vec::new();
        self.client.each_asset(search, |asset| {
            offers.push(Offer { id: asset.id, name: asset.name });
            offers.len() < OFFERS_MAX
        })?;
        Ok(offers)
    }

    fn prepare(&mut self, place: &Place, known: Option<Target>) -> Result<Target, Trouble> {
        let name = self.names.get(&place.asset).map_or(place.asset.as_str(), String::as_str);
        let repository = self.options.repository(place);
        let branch = branch(place);
        let mut target = known.unwrap_or_default();
        let same = target.get(COMPANY) == Some(&self.options.company)
            && target.get(NAME) == Some(name)
            && target.get(REPOSITORY) == repository.as_deref();
        let usable = target.get(ASSET).is_some_and(|id| !self.gone.contains(id));
        if !same || !usable {
            let wanted = Wanted {
                name,
                repository: repository.as_deref().map(|url| (url, branch.as_str())),
                business_impact: self.options.business_impact.as_deref(),
            };
            let found = assets::find_or_make(&mut self.client, wanted)?;
            self.gone.remove(&found.id);
            target = Target::default();
            target.set(COMPANY, self.options.company.as_str());
            target.set(NAME, name);
            target.set(ASSET, found.id);
            if found.existing {
                target.set(EXISTING, "yes");
            }
        }
        // A branch is told with its repository or not at all.
        if let Some(url) = repository {
            target.set(REPOSITORY, url);
            target.set(BRANCH, branch);
        }
        Ok(target)
    }

    fn intend(&self, place: &Place, message: &Message) -> Remote {
        Remote {
            scope: place.scope,
            id: None,
            key: message.finding.observed.key.clone(),
            state: None,
            content: None,
            birth: None,
            decided: None,
            since: clock::now(),
            telling: None,
            unanswered: Vec::new(),
        }
    }

    fn push(&mut self, place: &Place, target: &mut Target, batch: &[Message]) -> Pushed {
        let Some(asset) = target.get(ASSET).map(str::to_owned) else {
            let trouble = Trouble::target("this scope has no asset on Conviso yet", "it is looked for again");
            return Pushed { told: Vec::new(), trouble: Some(trouble) };
        };
        let mut items: Vec<Item<'_>> = batch.iter().map(Item::new).collect();
        let mut telling = Telling {
            client: &mut self.client,
            memory: &mut self.memory,
            mapping: &self.mapping,
            place,
            asset: &asset,
            branch: target.get(BRANCH),
            existing: target.get(EXISTING).is_some(),
        };
        let trouble = telling.tell(&mut items).err();
        if matches!(trouble, Some(Trouble::Target { .. })) {
            self.gone.insert(asset);
        }
        let told: Vec<(FindingId, Told)> =
            items.into_iter().filter_map(|item| Some((item.message.finding.id, item.told?))).collect();
        Pushed { told, trouble }
    }

    fn decisions(&mut self, since: Option<&str>) -> Result<Polled, Trouble> {
        let mark = since.and_then(|mark| Timestamp::parse(mark).ok());
        // The first time only what people decided is of interest; later also what they took back.
        let filters =
            if mark.is_some() { json!({}) } else { json!({ "statuses": ["RISK_ACCEPTED", "FALSE_POSITIVE"] }) };
        let mut newest = mark;
        let mut seen = BTreeSet::new();
        let mut decisions = Vec::new();
        let complete = self.client.each_issue(&filters, ("UPDATED_AT", "DESC"), |issue| {
            // What was changed in the very moment of the mark is told again: some of it may have come after the poll.
            if let (Some(mark), Some(at)) = (mark, issue.updated_at)
                && at < mark
            {
                return false;
            }
            newest = newest.max(issue.updated_at);
            if by_people(&issue) && issue.key.is_some() && seen.insert(issue.id.clone()) {
                decisions.push(Decision {
                    id: issue.id,
                    key: issue.key,
                    word: issue.status,
                    reason: issue.reason,
                    at: issue.updated_at,
                });
            }
            true
        })?;
        let mark = if complete { newest.map(exact) } else { since.map(str::to_owned) };
        Ok(Polled { decisions, mark })
    }

    fn look(&mut self, known: &[Known<'_>]) -> Result<Option<Vec<(FindingId, Seen)>>, Trouble> {
        self.compare(known).map(Some)
    }
}

/// Whether somebody there gave an issue its status.
fn by_people(issue: &Issue) -> bool {
    !matches!(issue.status.as_str(), "CREATED" | "DRAFT") && !status::is_own(issue.reason.as_deref())
}

/// A time to the millisecond, which the usual form leaves out.
fn exact(at: Timestamp) -> String {
    let whole = Timestamp(at.0.div_euclid(1000) * 1000).to_string();
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), at.0.rem_euclid(1000))
}

/// What a scope's branch is called on Conviso. A pull request is no branch, and its key could be one's name.
fn branch(place: &Place) -> String {
    match place.scope_kind {
        ScopeKind::Branch => place.branch.as_str().to_owned(),
        ScopeKind::PullRequest => format!("pull-request/{}", place.branch),
    }
}

/// Names of what is kept of a scope's place there.
const COMPANY: &str = "company";
const NAME: &str = "name";
const ASSET: &str = "asset";
const REPOSITORY: &str = "repository";
const BRANCH: &str = "branch";
/// Set where the asset was there before: it may hold issues that this box no longer remembers.
const EXISTING: &str = "existing";

/// Words for the business impact of an asset.
const IMPACTS: &[&str] = &["LOW", "MEDIUM", "HIGH", "NOT_DEFINED"];
/// Assets that are offered at once.
const OFFERS_MAX: usize = 200;

/// See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(body: &[u8]) {
    client::fuzz(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::destination::PlatformKind;
    use crate::domain::ids::DestinationName;

    fn destination(options: &[(&str, &str)]) -> Destination {
        let name = DestinationName::parse("conviso").expect("a name");
        let url = "https://api.example/graphql".to_owned();
        let mut destination = Destination::new(name, PlatformKind::Conviso, url, Timestamp(0));
        destination.options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        destination
    }

    #[test]
    fn what_cannot_be_right_is_refused_in_one_sentence() {
        let refused = |options: &[(&str, &str)]| Options::read(&destination(options)).expect_err("refused").0;
        for (options, part) in [
            (&[][..], "needs the option company"),
            (&[("company", "acme")][..], "\"acme\" is no id of a company"),
            (&[("company", "")][..], "is no id of a company"),
            (&[("company", "1"), ("business-impact", "huge")][..], "none of: LOW, MEDIUM, HIGH, NOT_DEFINED"),
            (&[("company", "1"), ("repository-url", "shop")][..], "is no clone address"),
            (&[("company", "1"), ("compny", "1")][..], "\"compny\" is no option of conviso"),
            (&[("company", "1"), ("repository-url.", "x")][..], "is no option"),
        ] {
            let text = refused(options);
            assert!(text.contains(part) && !text.contains('\n') && !text.contains(". "), "{text}");
        }
    }

    #[test]
    fn options_are_read_in_either_case_and_trimmed() {
        let options = [("company", " 42 "), ("business-impact", "high"), ("repository-url.p", "")];
        let read = Options::read(&destination(&options)).expect("good options");
        assert_eq!((read.company.as_str(), read.business_impact.as_deref()), ("42", Some("HIGH")));
        assert_eq!(read.repository_urls, [("p".to_owned(), String::new())].into());
    }

    #[test]
    fn a_mark_is_exact_to_the_millisecond() {
        for millis in [1_700_000_000_123, 1_700_000_000_000, -1] {
            assert_eq!(Timestamp::parse(&exact(Timestamp(millis))), Ok(Timestamp(millis)));
        }
    }
}
