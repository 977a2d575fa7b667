//! Asks Sonar. One call is one question and one answer; when to ask again, and how often, is decided elsewhere.
//!
//! The token goes only to the host that a person named: redirects are not followed. Answers are read as they
//! arrive, up to a limit, and never kept whole.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::{HeaderMap, HeaderValue, Uri, header};
use ureq::{Agent, Proxy};
use zeroize::Zeroizing;

use crate::domain::crawl::{Ask, List};
use crate::domain::delivery::ScopeRef;
use crate::domain::finding::Observed;
use crate::domain::ids::{IssueKey, OrganizationKey, ProjectKey, RuleKey, ScopeKind, ScopeName, SourceName};
use crate::domain::limits::{
    CALL_SLACK, ORGANIZATION_PAGES_MAX, PAUSE_WISH_MAX, SONAR_ANSWER_BYTES_MAX, SONAR_ANSWER_TEXT_BYTES_MAX,
    SONAR_ANSWER_VALUES_MAX, SONAR_CALL_MAX, SONAR_KEYS_PER_QUESTION, SONAR_PAGE_ROWS,
};
use crate::domain::measure::{Bounds, Measure};
use crate::domain::secret::SecretText;
use crate::domain::time::{Timestamp, http_date};
use crate::sys::loops;
use crate::sys::reach::{BadWay, address, proxy};
use crate::sys::trust::{Authorities, BadAuthorities, Trust};

use super::dialect::{Dialect, Mode, Query, SANDBOX, Version};
use super::failure::{FetchError, TooLarge};
use super::wire::{self, BadAnswer, Branch, FindingsPage, Organization, Project, ProjectsPage, PullRequest, Rule};

pub mod hooks;
mod triage;

/// What a source is reached by.
pub struct Connection {
    /// The operator's name for it.
    pub name: SourceName,
    /// Where its web interface is: `https://sonarcloud.io`, `https://sonar.example/context`.
    pub url: String,
    /// Where Cloud's newer interface is: `https://api.sonarcloud.io`.
    pub api_url: Option<String>,
    /// Whether it is SonarQube Cloud.
    pub cloud: bool,
    /// A Server's version, if it is known already.
    pub version: Option<Version>,
    /// What lets us in.
    pub token: Token,
    /// Authorities to trust beside the system's.
    pub ca_pem: Option<String>,
    /// A proxy; without one the environment's `HTTPS_PROXY` and `NO_PROXY` count.
    pub proxy: Option<SecretText>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may hold a password.
        f.debug_struct("Connection").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

/// A Sonar token. Wiped when dropped; `Debug` prints none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

/// Why a text cannot be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Nothing but white space.
    #[error("the token is empty")]
    Empty,
    /// Longer than any that Sonar makes.
    #[error("the token is {bytes} bytes long, {} is the most; is it the right file?", Token::BYTES_MAX)]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Something in it that no token has.
    #[error("the token has a space, a line break or another character that no token has; is it the right file?")]
    OddCharacter,
}

impl Token {
    /// Sonar's own have 40 to 50 characters.
    pub const BYTES_MAX: usize = 512;

    /// Takes a token out of a file or a form: white space around it does not count.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BadToken::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(BadToken::TooLong { bytes: text.len() });
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(BadToken::OddCharacter);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The token itself, for whoever seals it into the store.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn header(&self, basic: bool) -> HeaderValue {
        let text = Zeroizing::new(if basic {
            let mut name = Zeroizing::new(self.0.as_bytes().to_vec());
            name.push(b':');
            format!("Basic {}", BASE64_STANDARD.encode(&*name))
        } else {
            format!("Bearer {}", self.0.as_str())
        });
        let mut value = HeaderValue::from_str(&text).expect("a token has graphic characters only");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a connection cannot be made from what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadConnection {
    /// The address.
    #[error(
        "{given:?} is not Sonar's address: {problem}; one looks like https://sonar.example or https://example/sonar"
    )]
    Url {
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file of authorities.
    #[error("the file of authorities {0}")]
    Authorities(#[from] BadAuthorities),
    /// The proxy. Its address is not shown, as it may hold a password.
    #[error("the proxy {from} {problem}; one looks like http://proxy.example:3128")]
    Proxy {
        /// Where it was given.
        from: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl From<BadWay> for BadConnection {
    fn from(bad: BadWay) -> Self {
        match bad {
            BadWay::Url { given, problem, .. } => Self::Url { given, problem },
            BadWay::Authorities(bad) => Self::Authorities(bad),
            BadWay::Proxy { from, problem } => Self::Proxy { from, problem },
        }
    }
}

/// What Sonar says of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCheck {
    /// Whether it is valid. A Server that is open to everyone also says so of no token at all.
    pub valid: bool,
    /// When it expires; Servers from 10.0 say it.
    pub expires_at: Option<Timestamp>,
    /// Sonar's clock.
    pub server_time: Option<Timestamp>,
}

/// One source, ready to be asked. To be shared by threads.
pub struct Client {
    name: SourceName,
    cloud: bool,
    base: Base,
    api: Option<Base>,
    token: Token,
    agent: Agent,
    requests: AtomicU64,
    /// Servers before 10.0 take a token only as the name of Basic authentication and read Bearer as nobody.
    basic: OnceLock<bool>,
    answer_bytes_max: u64,
    /// Set when this Sonar has said that it does not know the word IN_SANDBOX.
    no_sandbox: AtomicBool,
    /// The date of the last answer, and when it came.
    date: Mutex<Option<(Timestamp, Instant)>>,
    pacer: Option<Arc<dyn Pacer>>,
}

/// Is asked before each request of a client, and told what came of it.
pub trait Pacer: Send + Sync {
    /// Waits until the request may be sent, or says why it may not.
    fn before(&self) -> Result<(), FetchError>;
    /// Is told how the request ended.
    fn after(&self, failed: Option<&FetchError>);
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).field("base", &self.base.address).finish_non_exhaustive()
    }
}

impl Client {
    /// Checks what was given; nothing is sent.
    pub fn new(connection: Connection, trust: &Trust) -> Result<Self, BadConnection> {
        Self::within(connection, trust, SONAR_CALL_MAX)
    }

    /// The same, where no call may take longer than this.
    fn within(connection: Connection, trust: &Trust, call_max: Duration) -> Result<Self, BadConnection> {
        let authorities = match &connection.ca_pem {
            Some(pem) => Authorities::parse(pem)?,
            None => Authorities::default(),
        };
        let uri = address(&connection.url)?;
        let proxy = proxy(connection.proxy.as_deref(), &uri)?;
        let base = Base::new(&uri, proxy.as_ref());
        let api = match &connection.api_url {
            Some(api) => Some(Base::new(&address(api)?, proxy.as_ref())),
            None => None,
        };
        let config = Agent::config_builder()
            .user_agent(concat!("Hydrophone/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(call_max))
            .max_idle_connections(IDLE_CONNECTIONS_MAX)
            .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
            .input_buffer_size(BUFFER_BYTES)
            .output_buffer_size(BUFFER_BYTES)
            .proxy(proxy)
            .build();
        Ok(Self {
            name: connection.name,
            cloud: connection.cloud,
            base,
            api,
            token: connection.token,
            agent: trust.agent(config, authorities),
            requests: AtomicU64::new(0),
            basic: connection.version.map_or_else(OnceLock::new, |version| takes_basic(version).into()),
            answer_bytes_max: SONAR_ANSWER_BYTES_MAX,
            no_sandbox: AtomicBool::new(false),
            date: Mutex::new(None),
            pacer: None,
        })
    }

    /// The same client, whose requests go at somebody's pace.
    #[must_use]
    pub fn paced(self, pacer: Arc<dyn Pacer>) -> Self {
        Self { pacer: Some(pacer), ..self }
    }

    /// How many requests this client has sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// What time it was for Sonar when it last answered; nothing if it does not say.
    pub fn server_date(&self) -> Option<Timestamp> {
        self.last_date().map(|(date, _)| date)
    }

    /// The same, and how long ago that was.
    pub fn last_date(&self) -> Option<(Timestamp, Duration)> {
        let last = *self.date.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|(date, at)| (date, at.elapsed()))
    }

    fn note_date(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|date| http_date(date.to_str().ok()?));
        if let Some(date) = date {
            *self.date.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, Instant::now()));
        }
    }

    /// Asks what Sonar thinks of the token. A bad one is an answer, not an error.
    pub fn validate(&self) -> Result<TokenCheck, FetchError> {
        let (valid, headers) =
            self.get(&self.base, "api/authentication/validate", &[], "the token", |answer| wire::validation(answer))?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Ok(TokenCheck {
            valid,
            expires_at: text("sonarqube-authentication-token-expiration").and_then(|date| Timestamp::parse(date).ok()),
            server_time: text("x-sonar-server-time")
                .and_then(|millis| millis.parse().ok().map(Timestamp))
                .or_else(|| text("date").and_then(http_date)),
        })
    }

    /// How this source is to be asked, and a Server's version as it prints it. Cloud needs no call.
    pub fn dialect(&self) -> Result<(Dialect, Option<String>), FetchError> {
        if self.cloud {
            return Ok((Dialect::cloud(), None));
        }
        let text = self.version()?;
        let version = Version::parse(&text).ok_or_else(|| FetchError::NotUnderstood {
            host: self.base.host.clone(),
            what: "the version".to_owned(),
            detail: "it is not of the form 10.6.0.92116".to_owned(),
        })?;
        let mode = if Dialect::has_modes(version) { Some(self.mode()?) } else { None };
        Ok((Dialect::server(version, mode), Some(text)))
    }

    /// The organizations of the token's user. A Server has none and counts as one, named as the source.
    pub fn organizations(&self) -> Result<Vec<Organization>, FetchError> {
        if !self.cloud {
            let key = OrganizationKey::parse(self.name.as_str()).expect("a source's name has plain characters only");
            return Ok(vec![Organization { name: key.to_string(), key }]);
        }
        let Some(api) = &self.api else {
            return self.organizations_of_the_older_interface();
        };
        let query = [("excludeEligibility", "true".to_owned())];
        let newer = self
            .get(api, "organizations/organizations", &query, "the organizations", |answer| wire::organizations(answer));
        match newer {
            Ok((organizations, _)) => Ok(organizations),
            // Which kinds of tokens the newer interface takes is not documented, so a refusal there proves nothing.
            Err(
                FetchError::Refused { .. }
                | FetchError::NoPermission { .. }
                | FetchError::NotFound { .. }
                | FetchError::NotJson { .. }
                | FetchError::NotUnderstood { .. },
            ) => self.organizations_of_the_older_interface(),
            Err(error) => Err(error),
        }
    }

    /// A page of the projects that the token sees, from 1.
    pub fn projects(
        &self,
        organization: &OrganizationKey,
        search: Option<&str>,
        page: u32,
    ) -> Result<ProjectsPage, FetchError> {
        let mut query: Query = Vec::new();
        if self.cloud {
            query.push(("organization", organization.to_string()));
        } else {
            query.push(("qualifiers", "TRK".to_owned()));
        }
        if let Some(search) = search.filter(|search| !search.is_empty()) {
            query.push(("q", search.to_owned()));
        }
        query.push(("ps", SONAR_PAGE_ROWS.to_string()));
        query.push(("p", page.to_string()));
        let what = format!("the projects of {organization}");
        Ok(self.get(&self.base, "api/components/search", &query, &what, |answer| wire::projects(answer))?.0)
    }

    /// One project; nothing if Sonar knows none, or knows it in another organization.
    pub fn project(&self, organization: &OrganizationKey, key: &ProjectKey) -> Result<Option<Project>, FetchError> {
        let query = [("component", key.to_string())];
        let what = format!("project {key}");
        let answer = self.get(&self.base, "api/components/show", &query, &what, |answer| wire::project(answer));
        let Some((project, _)) = unless_not_found(answer)? else {
            return Ok(None);
        };
        let elsewhere = self.cloud && project.organization.as_deref().is_some_and(|key| key != organization.as_str());
        Ok((!elsewhere).then_some(project))
    }

    /// All branches of a project.
    pub fn branches(&self, project: &ProjectKey) -> Result<Vec<Branch>, FetchError> {
        let query = [("project", project.to_string())];
        let what = format!("the branches of {project}");
        Ok(self.get(&self.base, "api/project_branches/list", &query, &what, |answer| wire::branches(answer))?.0)
    }

    /// All pull requests of a project.
    pub fn pull_requests(&self, project: &ProjectKey) -> Result<Vec<PullRequest>, FetchError> {
        let query = [("project", project.to_string())];
        let what = format!("the pull requests of {project}");
        let path = "api/project_pull_requests/list";
        Ok(self.get(&self.base, path, &query, &what, |answer| wire::pull_requests(answer))?.0)
    }

    /// When a branch was last analysed; nothing if never.
    pub fn analyses(&self, project: &ProjectKey, branch: Option<&ScopeName>) -> Result<Option<Timestamp>, FetchError> {
        let mut query = vec![("project", project.to_string())];
        query.extend(branch.map(|branch| ("branch", branch.to_string())));
        query.push(("ps", "1".to_owned()));
        let what = format!("the analyses of {project}");
        let path = "api/project_analyses/search";
        let (analyses, _) = self.get(&self.base, path, &query, &what, |answer| wire::analyses(answer))?;
        Ok(analyses.into_iter().map(|analysis| analysis.date).max())
    }

    /// The commit of a branch's newest analysis that is not newer than this: Sonar may have gone on since it was read.
    /// Of pull requests it lists no analyses.
    pub fn revision(
        &self,
        project: &ProjectKey,
        scope: &ScopeRef,
        analysed_at: Option<Timestamp>,
    ) -> Result<Option<String>, FetchError> {
        let mut query = vec![("project", project.to_string())];
        match scope {
            ScopeRef::Main => {}
            ScopeRef::Named { kind: ScopeKind::Branch, name } => query.push(("branch", name.to_string())),
            ScopeRef::Named { kind: ScopeKind::PullRequest, .. } => return Ok(None),
        }
        query.push(("ps", ANALYSES_ROWS.to_string()));
        let what = format!("the analyses of {project}");
        let path = "api/project_analyses/search";
        let (analyses, _) = self.get(&self.base, path, &query, &what, |answer| wire::analyses(answer))?;
        let meant = analyses.into_iter().filter(|analysis| analysed_at.is_none_or(|at| analysis.date <= at));
        Ok(meant.max_by_key(|analysis| analysis.date).and_then(|analysis| analysis.revision))
    }

    /// A page of a slice of one of a scope's lists.
    pub fn list(
        &self,
        dialect: Dialect,
        organization: &OrganizationKey,
        project: &ProjectKey,
        scope: &ScopeRef,
        ask: &Ask,
    ) -> Result<FindingsPage, FetchError> {
        if ask.list == List::Hotspots {
            let what = format!("the hotspots of {project}");
            let query = dialect.hotspots_page(project, scope, ask);
            return Ok(self.get(&self.base, "api/hotspots/search", &query, &what, |answer| wire::hotspots(answer))?.0);
        }
        let mut query = dialect.slice_page(organization, project, scope, ask);
        if self.no_sandbox.load(Ordering::Relaxed) {
            if ask.slice.status.as_deref() == Some(SANDBOX) {
                return Ok(nothing());
            }
            without_sandbox(&mut query);
        }
        match self.issues_search(&query, project) {
            // Which version brought the word is not documented to the release; one that lacks it has no such issues.
            Err(FetchError::BadRequest { message, .. }) if message.contains(SANDBOX) && without_sandbox(&mut query) => {
                self.no_sandbox.store(true, Ordering::Relaxed);
                self.issues_search(&query, project)
            }
            answer => answer,
        }
    }

    /// A page of all security issues of a scope, closed ones too, last touched first.
    pub fn recent(
        &self,
        dialect: Dialect,
        organization: &OrganizationKey,
        project: &ProjectKey,
        scope: &ScopeRef,
        page: u32,
    ) -> Result<FindingsPage, FetchError> {
        self.issues_search(&dialect.recent_page(organization, project, scope, page), project)
    }

    /// Of these issues, those that Sonar still shows, in whichever project; at most [`SONAR_KEYS_PER_QUESTION`].
    pub fn issues_anywhere(
        &self,
        dialect: Dialect,
        organization: &OrganizationKey,
        keys: &[IssueKey],
    ) -> Result<FindingsPage, FetchError> {
        assert!(!keys.is_empty() && keys.len() <= SONAR_KEYS_PER_QUESTION, "the caller asks for some, in portions");
        let query = dialect.anywhere(organization, keys);
        Ok(self.get(&self.base, "api/issues/search", &query, "issues by key", |answer| wire::issues(answer))?.0)
    }

    /// These issues in whatever state, at most [`SONAR_KEYS_PER_QUESTION`] of them.
    pub fn issues_by_key(
        &self,
        dialect: Dialect,
        organization: &OrganizationKey,
        project: &ProjectKey,
        scope: &ScopeRef,
        keys: &[IssueKey],
    ) -> Result<FindingsPage, FetchError> {
        assert!(keys.len() <= SONAR_KEYS_PER_QUESTION, "the caller asks in portions");
        let mut whole = FindingsPage::default();
        if keys.is_empty() {
            // Sonar reads an empty list of keys as no filter.
            return Ok(whole);
        }
        for page in 1.. {
            let query = dialect.by_key(organization, project, scope, keys, page);
            let next = self.issues_search(&query, project)?;
            // More than was asked for is no answer to the question.
            let most = keys.len() as u64;
            if next.total > most || whole.rows + next.rows > most {
                return Err(FetchError::CutShort { host: self.base.host.clone() });
            }
            let last = next.rows == 0 || whole.rows + next.rows >= next.total;
            whole.rows += next.rows;
            whole.total = next.total;
            whole.unusable += next.unusable;
            whole.findings.extend(next.findings);
            for word in next.odd_words {
                if !whole.odd_words.contains(&word) {
                    whole.odd_words.push(word);
                }
            }
            if last {
                break;
            }
        }
        // A key without an answer will count as unknown to Sonar, so the answers have to be all there are.
        let distinct: BTreeSet<&IssueKey> = whole.findings.iter().map(|finding| &finding.key).collect();
        if whole.unusable > 0 || distinct.len() as u64 != whole.total {
            return Err(FetchError::CutShort { host: self.base.host.clone() });
        }
        Ok(whole)
    }

    /// One hotspot; nothing if Sonar knows none.
    pub fn hotspot(&self, key: &IssueKey) -> Result<Option<Observed>, FetchError> {
        let query = [("hotspot", key.to_string())];
        let what = format!("hotspot {key}");
        let answer = self.get(&self.base, "api/hotspots/show", &query, &what, |answer| wire::hotspot(answer));
        match unless_not_found(answer)? {
            // Of another one, it is no answer to the question.
            Some((hotspot, _)) if hotspot.key != *key => Err(FetchError::CutShort { host: self.base.host.clone() }),
            answer => Ok(answer.map(|(hotspot, _)| hotspot)),
        }
    }

    /// One rule; nothing if Sonar knows none.
    pub fn rule(&self, organization: &OrganizationKey, key: &RuleKey) -> Result<Option<Rule>, FetchError> {
        let mut query = vec![("key", key.to_string())];
        if self.cloud {
            query.push(("organization", organization.to_string()));
        }
        let what = format!("rule {key}");
        let answer = self.get(&self.base, "api/rules/show", &query, &what, |answer| wire::rule(answer));
        Ok(unless_not_found(answer)?.map(|(rule, _)| rule))
    }

    fn issues_search(&self, query: &Query, project: &ProjectKey) -> Result<FindingsPage, FetchError> {
        let what = format!("the issues of {project}");
        Ok(self.get(&self.base, "api/issues/search", query, &what, |answer| wire::issues(answer))?.0)
    }

    /// Not a documented interface of Cloud any more, therefore only the second choice.
    fn organizations_of_the_older_interface(&self) -> Result<Vec<Organization>, FetchError> {
        let mut organizations = Vec::new();
        let mut rows = 0;
        for page in 1..=ORGANIZATION_PAGES_MAX {
            let query = [("member", "true".to_owned()), ("ps", SONAR_PAGE_ROWS.to_string()), ("p", page.to_string())];
            let (next, _) =
                self.get(&self.base, "api/organizations/search", &query, "the organizations", |answer| {
                    wire::organizations_page(answer)
                })?;
            rows += next.rows;
            organizations.extend(next.organizations);
            if next.rows == 0 || rows >= next.total {
                break;
            }
        }
        Ok(organizations)
    }

    /// Asked without the token: it is open to everyone, and decides how the token is to be shown.
    fn version(&self) -> Result<String, FetchError> {
        let path = "api/server/version";
        Ok(self.send(&self.base, path, &[], "the version", None, |answer| wire::version(answer))?.0)
    }

    /// Path and words as in Sonar's own client (`ModeService`). A Server that does not answer it to this token is
    /// taken for one in its default mode.
    fn mode(&self) -> Result<Mode, FetchError> {
        match self.get(&self.base, "api/v2/clean-code-policy/mode", &[], "the mode", |answer| wire::mode(answer)) {
            Ok((mode, _)) => Ok(mode),
            Err(
                FetchError::NotFound { .. }
                | FetchError::NoPermission { .. }
                | FetchError::NotJson { status: 403 | 404, .. },
            ) => Ok(Mode::MultiQuality),
            Err(error) => Err(error),
        }
    }

    fn basic(&self) -> Result<bool, FetchError> {
        if self.cloud {
            return Ok(false);
        }
        if let Some(&basic) = self.basic.get() {
            return Ok(basic);
        }
        match self.version() {
            Ok(version) => {
                let basic = Version::parse(&version).is_some_and(takes_basic);
                Ok(*self.basic.get_or_init(|| basic))
            }
            // Somebody closed this address. Then it is not one of the old Servers, which leave it open; or something
            // before it fails, so the next call asks again.
            Err(FetchError::Refused { .. } | FetchError::NoPermission { .. } | FetchError::NotFound { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn get<T>(
        &self,
        base: &Base,
        path: &str,
        query: &[(&'static str, String)],
        what: &str,
        read: impl FnOnce(&mut Answer<'_>) -> Result<T, BadAnswer>,
    ) -> Result<(T, HeaderMap), FetchError> {
        let token = self.token.header(self.basic()?);
        self.send(base, path, query, what, Some(token), read)
    }

    /// One request, when its time has come.
    fn send<T>(
        &self,
        base: &Base,
        path: &str,
        query: &[(&'static str, String)],
        what: &str,
        token: Option<HeaderValue>,
        read: impl FnOnce(&mut Answer<'_>) -> Result<T, BadAnswer>,
    ) -> Result<(T, HeaderMap), FetchError> {
        let Some(pacer) = &self.pacer else { return self.send_now(base, path, query, what, token, read) };
        pacer.before()?;
        let result = self.send_now(base, path, query, what, token, read);
        pacer.after(result.as_ref().err());
        result
    }

    fn send_now<T>(
        &self,
        base: &Base,
        path: &str,
        query: &[(&'static str, String)],
        what: &str,
        token: Option<HeaderValue>,
        read: impl FnOnce(&mut Answer<'_>) -> Result<T, BadAnswer>,
    ) -> Result<(T, HeaderMap), FetchError> {
        let _step = loops::within(SONAR_CALL_MAX + CALL_SLACK);
        let mut request = self.agent.get(base.url(path, query));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let response = request.call().map_err(|error| FetchError::no_answer(error, base.way.clone()))?;
        let (head, mut body) = response.into_parts();
        self.note_date(&head.headers);
        let status = head.status.as_u16();
        if !head.status.is_success() {
            let mut text = Vec::new();
            // An error without its text is still an error.
            let _ = body.as_reader().take(ERROR_BODY_BYTES_MAX).read_to_end(&mut text);
            return Err(self.unsuccessful(base, status, &head.headers, &text, what));
        }
        let mut answer = BufReader::new(Limited {
            body: body.as_reader(),
            left: self.answer_bytes_max,
            measure: Measure::new(BOUNDS),
            bytes_max: self.answer_bytes_max,
        });
        let begin = answer.fill_buf().map_err(|error| FetchError::broken_answer(error, base.host.clone()))?;
        if is_markup(begin) {
            return Err(FetchError::NotJson { host: base.host.clone(), status, hint: "HTML, not JSON" });
        }
        match read(&mut answer) {
            Ok(value) => Ok((value, head.headers)),
            Err(error) => Err(not_read(error, base, status, what)),
        }
    }

    fn unsuccessful(&self, base: &Base, status: u16, headers: &HeaderMap, body: &[u8], what: &str) -> FetchError {
        let host = || base.host.clone();
        let message = wire::error_message(body);
        let what = what.to_owned();
        match status {
            300..=399 => FetchError::Moved { host: host(), to: moved_to(headers) },
            429 => FetchError::Throttled { retry_after: retry_after(headers) },
            500.. => FetchError::Unavailable { host: host(), status, retry_after: retry_after(headers), message },
            _ if is_markup(body) => FetchError::NotJson { host: host(), status, hint: "HTML, not JSON" },
            401 => FetchError::Refused { status, source_name: self.name.clone() },
            403 => FetchError::NoPermission { what, source_name: self.name.clone() },
            // Any web server answers 404 to what it does not know. Only one in Sonar's words says that something
            // is gone.
            _ => match message {
                Some(_) if status == 404 => FetchError::NotFound { what },
                Some(message) => FetchError::BadRequest { what, message },
                None => FetchError::NotJson { host: host(), status, hint: "not in Sonar's form" },
            },
        }
    }
}

/// Servers before 10.0 read a token only as the name of Basic authentication.
fn takes_basic(version: Version) -> bool {
    version < Version::new(10, 0)
}

/// Connections kept open between two calls, for the two hosts of Cloud.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// One way of one connection. Question and head of the answer each have to fit: a hundred long keys are 25 kB.
const BUFFER_BYTES: usize = 64 * 1024;

/// Analyses among which one is looked for: those that may finish between a read and its telling.
const ANALYSES_ROWS: u32 = 20;

/// What is read of an error's body.
const ERROR_BODY_BYTES_MAX: u64 = 64 * 1024;

/// What stays as it is in a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b',');

/// An answer while it arrives.
type Answer<'a> = BufReader<Limited<'a>>;

/// What an answer may hold.
const BOUNDS: Bounds = Bounds { values_max: SONAR_ANSWER_VALUES_MAX, text_bytes_max: SONAR_ANSWER_TEXT_BYTES_MAX };

/// Counts what was unpacked, so that a small answer cannot unpack to a large one, nor to many small values.
struct Limited<'a> {
    body: ureq::BodyReader<'a>,
    left: u64,
    measure: Measure,
    bytes_max: u64,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other(TooLarge { bytes_max: self.bytes_max }))?;
        self.measure.take(&buffer[..count]).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// Where calls go.
struct Base {
    /// With a slash at its end.
    address: String,
    /// Name and port.
    host: String,
    /// The host, and the proxy that leads there.
    way: String,
}

impl Base {
    fn new(uri: &Uri, proxy: Option<&Proxy>) -> Self {
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let way = match proxy.filter(|proxy| !proxy.is_no_proxy(uri)) {
            Some(proxy) => format!("{host} (through the proxy {}:{})", proxy.host(), proxy.port()),
            None => host.clone(),
        };
        let scheme = uri.scheme_str().unwrap_or_default();
        let path = uri.path().trim_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        Self { address: format!("{scheme}://{host}/{path}{slash}"), host, way }
    }

    fn url(&self, path: &str, query: &[(&'static str, String)]) -> String {
        let mut url = format!("{}{path}", self.address);
        for (index, (name, value)) in query.iter().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            write!(url, "{mark}{name}={}", utf8_percent_encode(value, PLAIN)).expect("writing to a string cannot fail");
        }
        url
    }
}

fn not_read(error: BadAnswer, base: &Base, status: u16, what: &str) -> FetchError {
    let host = base.host.clone();
    match error {
        BadAnswer::Io(error) => FetchError::broken_answer(error, host),
        BadAnswer::Json(error) if error.is_io() => FetchError::broken_answer(error.into(), host),
        BadAnswer::Json(error) if error.is_eof() => FetchError::CutShort { host },
        BadAnswer::Json(error) if error.is_syntax() && error.line() == 1 && error.column() <= 1 => {
            FetchError::NotJson { host, status, hint: "not JSON" }
        }
        // serde's own text may quote the answer.
        BadAnswer::Json(error) => FetchError::NotUnderstood {
            host,
            what: what.to_owned(),
            detail: format!("odd JSON at line {}, column {}", error.line(), error.column()),
        },
        error @ BadAnswer::Lacks(_) => {
            FetchError::NotUnderstood { host, what: what.to_owned(), detail: error.to_string() }
        }
    }
}

fn unless_not_found<T>(answer: Result<T, FetchError>) -> Result<Option<T>, FetchError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(FetchError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a list holds that is asked for a state which this Sonar does not know.
fn nothing() -> FindingsPage {
    FindingsPage { facets: vec![("statuses".to_owned(), Vec::new())], ..FindingsPage::default() }
}

/// Whether the query had the word.
fn without_sandbox(query: &mut Query) -> bool {
    let mut had = false;
    for (_, value) in query.iter_mut().filter(|(name, _)| *name == "issueStatuses") {
        if let Some(rest) = value.strip_suffix(",IN_SANDBOX") {
            *value = rest.to_owned();
            had = true;
        }
    }
    had
}

fn is_markup(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

/// Scheme and host only: the rest of such an address may hold secrets of a login.
fn moved_to(headers: &HeaderMap) -> String {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let uri: Option<Uri> = location.and_then(|location| location.parse().ok());
    match uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?, uri.port_u16()))) {
        Some((scheme, host, Some(port))) => format!("{scheme}://{host}:{port}"),
        Some((scheme, host, None)) => format!("{scheme}://{host}"),
        None => "another path of the same host".to_owned(),
    }
}

/// Seconds or a date. A date is taken against the answer's own, so that the box's clock does not matter.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let wish = text(header::RETRY_AFTER).and_then(|wish| match wish.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(http_date(wish)?.since(text(header::DATE).and_then(http_date)?)),
    });
    wish.map(|wish| wish.clamp(Duration::from_secs(1), PAUSE_WISH_MAX))
}

#[cfg(test)]
mod tests;
