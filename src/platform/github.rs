//! GitHub code scanning, on github.com, GitHub Enterprise Cloud with data residency and GitHub Enterprise Server: each
//! branch as one SARIF analysis.
//!
//! GitHub keeps the alerts of a branch by the analysis's category, `sonar/ORGANIZATION/PROJECT/BRANCH`: what a later
//! analysis does not hold is closed there, and what a person dismissed there stays dismissed. An analysis counts as
//! told when GitHub has processed it. Of an analysis it shows the 5,000 worst results, and takes none with more than
//! 25,000.
//!
//! An analysis belongs to a commit. Where Sonar did not say which one it analysed, nothing is told, unless
//! `commit=head` allows the branch's newest one.
//!
//! The secret is a token: a fine-grained one (or that of a GitHub App) with "Code scanning alerts: write" and "Metadata:
//! read" for the repositories (and "Contents: read" for `commit=head`), or a classic one with `security_events`, or
//! `public_repo` for public repositories only. A private repository needs GitHub Code Security (Advanced Security).
//!
//! The address is `https://github.com`, or that of one's own server.
//!
//! Options:
//!
//! | option | meaning | without it |
//! |---|---|---|
//! | `repository` | `owner/name` that findings go to | only projects with one of their own are told |
//! | `repository.PROJECT` | the same for the project with this key | `repository` |
//! | `ref` | the ref of a branch there, in which `{branch}` is Sonar's name of it | `refs/heads/{branch}` |
//! | `commit` | `analysed`: the commit that Sonar analysed; `head`: where that is not known, the newest of the ref | `analysed` |
//! | `suppressions` | `all`: accepted findings and false positives are told as suppressed; `false-positives`: only those; `none` | `all` |
//!
//! Dismissals are not read back.

use std::collections::{BTreeMap, HashMap};
use std::thread;

use base64::prelude::BASE64_STANDARD;
use base64::write::EncoderWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::json;
use ureq::http::{HeaderName, Method, header};

use super::http::{Answer, Http, plainly};
use super::scope_log::{self, Broken};
use super::{Abilities, BadDestination, Finding, Findings, Manner, Platform, Pushed, Trouble, sarif};
use crate::domain::destination::Destination;
use crate::domain::ids::{ScopeId, ScopeKind};
use crate::domain::limits::{GITHUB_LOG_BYTES_MAX, GITHUB_PROCESSING_WAITS, GITHUB_RESULTS_SHOWN_MAX};
use crate::domain::message::{Message, Place, Target};
use crate::sys::reach;
use crate::sys::trust::Trust;

/// Code scanning of one or more repositories.
pub struct GitHub {
    http: Http,
    /// Where a person looks.
    page: String,
    repositories: Repositories,
    branch_ref: String,
    head: bool,
    suppressions: sarif::Suppressions,
    /// What was uploaded and was not processed in time: a digest of it, and GitHub's id.
    pending: HashMap<ScopeId, (Vec<u8>, String)>,
}

struct Repositories {
    all: Option<String>,
    by_project: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Upload {
    id: String,
}

#[derive(Deserialize)]
struct Processing {
    processing_status: String,
    #[serde(default)]
    errors: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Said {
    message: String,
}

#[derive(Deserialize)]
struct GitRef {
    object: GitObject,
}

#[derive(Deserialize)]
struct GitObject {
    sha: String,
}

impl GitHub {
    /// Checks what was given; nothing is sent.
    ///
    /// # Errors
    /// If address, options or token cannot be right.
    pub fn open(destination: &Destination, secret: Option<&str>, trust: &Trust) -> Result<Self, BadDestination> {
        let uri = reach::address(&destination.url).map_err(|error| BadDestination(error.to_string()))?;
        if uri.scheme_str() == Some("http") && !reach::is_loopback(&uri) {
            return Err(BadDestination(format!(
                "the token would travel unencrypted to {}: use an address that begins with https://",
                destination.url
            )));
        }
        let token = secret.map(str::trim).filter(|token| !token.is_empty()).ok_or_else(|| {
            BadDestination("GitHub needs a token with the right to write code scanning alerts".to_owned())
        })?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or_default();
        let page = destination.url.trim().trim_end_matches('/');
        let (page, api) = match host.strip_prefix("api.") {
            // A server's own API is below /api/v3, that of github.com and of *.ghe.com has a host of its own.
            Some(of) => (format!("{scheme}://{of}"), page.to_owned()),
            None if host == "github.com" || host.ends_with(".ghe.com") => {
                (page.to_owned(), format!("{scheme}://api.{host}"))
            }
            None => {
                let page = page.strip_suffix("/api/v3").unwrap_or(page);
                (page.to_owned(), format!("{page}/api/v3"))
            }
        };
        let mut of_api = destination.clone();
        of_api.url = api;
        let branch_ref = destination.option("ref").unwrap_or("refs/heads/{branch}");
        if !branch_ref.starts_with("refs/") {
            return Err(BadDestination(format!("the option ref begins with refs/, unlike {branch_ref:?}")));
        }
        let head = match destination.option("commit") {
            None | Some("analysed") => false,
            Some("head") => true,
            Some(other) => {
                return Err(BadDestination(format!("the option commit is analysed or head, not {other:?}")));
            }
        };
        Ok(Self {
            http: Http::new(&of_api, trust)?.with_secret_header(header::AUTHORIZATION, &format!("Bearer {token}"))?,
            page,
            repositories: Repositories::read(destination)?,
            branch_ref: branch_ref.to_owned(),
            head,
            suppressions: scope_log::suppressions(destination)?,
            pending: HashMap::new(),
        })
    }

    fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answer, Trouble> {
        let mut headers = vec![
            (header::ACCEPT, "application/vnd.github+json".to_owned()),
            (HeaderName::from_static("x-github-api-version"), "2022-11-28".to_owned()),
        ];
        if method == Method::POST {
            headers.push((header::CONTENT_TYPE, "application/json".to_owned()));
        }
        self.http.send(method, &self.http.url(path), &headers, body)
    }

    fn get(&self, path: &str) -> Result<Answer, Trouble> {
        self.ask(Method::GET, path, Vec::new())
    }

    /// What every answer but a success means that is about a repository.
    fn trouble(&self, answer: &Answer, repository: &str) -> Trouble {
        if let Some(trouble) = answer.trouble() {
            return trouble;
        }
        let (host, status) = (self.http.host(), answer.status);
        let said = answer.read::<Said>().map_or_else(|_| answer.excerpt(), |said| plainly(&said.message));
        match status {
            401 => Trouble::refused(format!("{host} refuses the token (HTTP 401)"), "make a new one and give it"),
            403 if is_limit(answer) => Trouble::Later {
                why: format!("{host} asks for a pause, as its limit of requests is reached (HTTP 403)"),
                after: answer.retry_after(),
            },
            403 => Trouble::target(
                format!("{host} refuses {repository} (HTTP 403): {said}"),
                "the token needs the right to write code scanning alerts there, and a private repository GitHub Code \
                 Security (Advanced Security)",
            ),
            404 => Trouble::target(
                format!("{host} shows no repository {repository} to this token (HTTP 404)"),
                "check its name, and that the token is for it",
            ),
            413 => Trouble::target(
                format!("the analysis is too large for {host} (HTTP 413)"),
                "pass on fewer severities or kinds",
            ),
            _ => Trouble::target(
                format!("{host} refuses the analysis for {repository} (HTTP {status}): {said}"),
                "see to what it says",
            ),
        }
    }

    fn git_ref(&self, place: &Place) -> String {
        match place.scope_kind {
            ScopeKind::Branch => self.branch_ref.replace("{branch}", place.branch.as_str()),
            ScopeKind::PullRequest => format!("refs/pull/{}/head", place.branch),
        }
    }

    /// The commit that the findings are of.
    fn commit(&self, place: &Place, repository: &str, git_ref: &str) -> Result<String, Trouble> {
        let known = place.revision.as_deref().filter(|text| is_commit(text));
        if let Some(revision) = known {
            return Ok(revision.to_owned());
        }
        if !self.head {
            return Err(Trouble::target(
                format!("it is not known which commit of {} {} Sonar analysed", place.project, place.branch),
                "let the analysis read the repository's history, or give the option commit=head to name the newest one",
            ));
        }
        let short = git_ref.strip_prefix("refs/").unwrap_or(git_ref);
        let answer = self.get(&format!("repos/{repository}/git/ref/{}", segments(short)))?;
        match answer.status {
            200 => {
                let sha = answer.read::<GitRef>()?.object.sha;
                // It becomes a part of what is sent, and of addresses.
                if is_commit(&sha) {
                    return Ok(sha);
                }
                Err(Trouble::later(format!("{} names no commit for {git_ref}", self.http.host())))
            }
            404 => Err(Trouble::target(
                format!("{repository} has no {git_ref}, or the token may not see it (HTTP 404)"),
                "name it by the option ref, and give the token the right to read contents",
            )),
            _ => Err(self.trouble(&answer, repository)),
        }
    }

    /// The body of an upload.
    fn body(
        &self,
        place: &Place,
        (repository, git_ref, commit): (&str, &str, &str),
        findings: &mut Findings<'_>,
    ) -> Result<Vec<u8>, Trouble> {
        // Compressed and encoded while it is written: a branch of many findings is held once.
        let head = json!({ "commit_sha": commit, "ref": git_ref, "tool_name": "SonarQube" }).to_string();
        let mut body = head.trim_end_matches('}').as_bytes().to_vec();
        body.extend_from_slice(b",\"sarif\":\"");
        let begin = body.len();
        let url = format!("{}/{repository}", self.page);
        let write = || {
            let encoder = EncoderWriter::new(body, &BASE64_STANDARD);
            let zip = GzEncoder::new(encoder, Compression::default());
            let (zip, summary) = scope_log::write(zip, place, (self.suppressions, Some(&url)), findings)?;
            Ok::<_, Broken>((zip.finish()?.finish()?, summary))
        };
        let (mut body, summary) = write().map_err(|broken| match broken {
            Broken::Told(trouble) => trouble,
            Broken::Write(error) => Trouble::later(format!("the analysis cannot be written: {error}")),
        })?;
        let branch = format!("{} {}", place.project, place.branch);
        let fewer = "pass on fewer severities or kinds";
        if summary.runs > 1 {
            let why =
                format!("{branch} has {} findings, and GitHub takes {} at once", summary.results, sarif::RESULTS_MAX);
            return Err(Trouble::target(why, fewer));
        }
        if (body.len() - begin) / 4 * 3 > GITHUB_LOG_BYTES_MAX {
            return Err(Trouble::target(
                format!("the analysis of {branch} is larger than the 10 MB that GitHub takes"),
                fewer,
            ));
        }
        if summary.results > GITHUB_RESULTS_SHOWN_MAX {
            tracing::warn!(
                "{branch} has {} findings, of which GitHub shows the {GITHUB_RESULTS_SHOWN_MAX} worst",
                summary.results
            );
        }
        body.extend_from_slice(b"\"}");
        Ok(body)
    }

    fn upload(&self, repository: &str, body: Vec<u8>) -> Result<String, Trouble> {
        let answer = self.ask(Method::POST, &format!("repos/{repository}/code-scanning/sarifs"), body)?;
        match answer.status {
            202 => {
                let id = answer.read::<Upload>()?.id;
                let is_name = (1..=UPLOAD_ID_BYTES_MAX).contains(&id.len());
                let odd = || Trouble::later(format!("{} names the analysis by no id of its form", self.http.host()));
                is_name.then_some(id).ok_or_else(odd)
            }
            _ => Err(self.trouble(&answer, repository)),
        }
    }

    /// Waits until an upload is processed; false if it is not in time.
    fn processed(&self, repository: &str, id: &str) -> Result<bool, Trouble> {
        let path = format!("repos/{repository}/code-scanning/sarifs/{}", segments(id));
        for wait in GITHUB_PROCESSING_WAITS {
            thread::sleep(*wait);
            let answer = self.get(&path)?;
            match answer.status {
                200 => {}
                // It may take a moment to be found.
                404 => continue,
                _ => return Err(self.trouble(&answer, repository)),
            }
            let processing: Processing = answer.read()?;
            match processing.processing_status.as_str() {
                "complete" => return Ok(true),
                "failed" => {
                    let errors = plainly(&processing.errors.unwrap_or_default().join(" "));
                    let why = format!("{} could not process the analysis for {repository}: {errors}", self.http.host());
                    return Err(Trouble::target(
                        why,
                        "see to what it says; `hydrophone destination replay` tells it again",
                    ));
                }
                _ => {}
            }
        }
        Ok(false)
    }

    fn check_repository(&self, repository: &str) -> Result<Vec<Finding>, Trouble> {
        let line = |what, good, text: String| Finding { what, good, text };
        let answer = self.get(&format!("repos/{repository}"))?;
        if answer.status == 401 {
            return Ok(vec![line("token", false, self.trouble(&answer, repository).to_string())]);
        }
        if answer.status != 200 {
            return Ok(vec![line("repository", false, self.trouble(&answer, repository).to_string())]);
        }
        let mut lines = vec![line("repository", true, format!("{repository} is seen"))];
        // Only classic tokens say what they may.
        let scopes = answer.headers.get("x-oauth-scopes").and_then(|scopes| scopes.to_str().ok());
        if let Some(scopes) = scopes.filter(|scopes| !scopes.trim().is_empty()) {
            let fit = |scope: &str| ["repo", "security_events", "public_repo"].contains(&scope.trim());
            let good = scopes.split(',').any(fit);
            let needed = "; it needs security_events, or public_repo for public repositories";
            let text = format!("the token has the scopes {scopes}{}", if good { "" } else { needed });
            lines.push(line("token", good, text));
        }
        let answer = self.get(&format!("repos/{repository}/code-scanning/alerts?per_page=1"))?;
        lines.push(match answer.status {
            // 404 is what a repository without any analysis answers.
            200 | 404 => line(
                "code scanning",
                true,
                format!(
                    "alerts of {repository} can be read; that they can be written only shows with the first analysis"
                ),
            ),
            _ => line("code scanning", false, self.trouble(&answer, repository).to_string()),
        });
        Ok(lines)
    }
}

impl Platform for GitHub {
    fn abilities(&self) -> Abilities {
        Abilities { manner: Manner::Scopes, batch_max: 1, decisions: false, words: &[] }
    }

    /// Looks whether the named repositories and their alerts can be seen, and what the token says that it may.
    fn check(&mut self) -> Result<Vec<Finding>, Trouble> {
        let mut lines = Vec::new();
        for repository in self.repositories.names().into_iter().take(CHECKED_MAX) {
            lines.extend(self.check_repository(repository)?);
        }
        Ok(lines)
    }

    fn push(&mut self, _place: &Place, _target: &mut Target, _batch: &[Message]) -> Pushed {
        let trouble = Trouble::refused("GitHub takes whole branches only", "report this as a fault of hydrophone");
        Pushed { told: Vec::new(), trouble: Some(trouble) }
    }

    fn publish(&mut self, place: &Place, _target: &mut Target, findings: &mut Findings<'_>) -> Result<(), Trouble> {
        let repository = self.repositories.of(place)?.to_owned();
        let git_ref = self.git_ref(place);
        let commit = self.commit(place, &repository, &git_ref)?;
        let body = self.body(place, (&repository, &git_ref, &commit), findings)?;
        let same = digest(&SHA256, &body).as_ref().to_vec();
        let id = match self.pending.remove(&place.scope) {
            Some((known, id)) if known == same => id,
            _ => self.upload(&repository, body)?,
        };
        match self.processed(&repository, &id) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.pending.insert(place.scope, (same, id));
                Err(Trouble::later(format!("{} has not processed the analysis for {repository} yet", self.http.host())))
            }
            Err(trouble) => {
                if matches!(trouble, Trouble::Later { .. }) {
                    self.pending.insert(place.scope, (same, id));
                }
                Err(trouble)
            }
        }
    }
}

impl Repositories {
    fn read(destination: &Destination) -> Result<Self, BadDestination> {
        let mut all = None;
        let mut by_project = BTreeMap::new();
        for (name, value) in &destination.options {
            let project = name.strip_prefix("repository.");
            if project.is_none() && name != "repository" {
                if ["ref", "commit", "suppressions"].contains(&name.as_str()) {
                    continue;
                }
                return Err(BadDestination(format!(
                    "{name:?} is no option of github; they are: repository, repository.PROJECT, ref, commit, suppressions"
                )));
            }
            let plain = |part: &str| {
                !part.is_empty()
                    && part != "."
                    && part != ".."
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            };
            if !value.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name)) {
                return Err(BadDestination(format!("{value:?} is no repository; one looks like owner/name")));
            }
            match project {
                Some(project) => drop(by_project.insert(project.to_owned(), value.clone())),
                None => all = Some(value.clone()),
            }
        }
        if all.is_none() && by_project.is_empty() {
            return Err(BadDestination(
                "GitHub needs the option repository=owner/name, or repository.PROJECT=owner/name for each project"
                    .to_owned(),
            ));
        }
        Ok(Self { all, by_project })
    }

    fn of(&self, place: &Place) -> Result<&str, Trouble> {
        let project = place.project.as_str();
        self.by_project.get(project).or(self.all.as_ref()).map(String::as_str).ok_or_else(|| {
            Trouble::target(
                format!("no repository is named for the project {project}"),
                format!("give the option repository.{project}=owner/name, or leave the project out"),
            )
        })
    }

    /// Each once.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.all.iter().chain(self.by_project.values()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Git's name of a commit, in either of its forms.
fn is_commit(text: &str) -> bool {
    (text.len() == 40 || text.len() == 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// GitHub's own have 36.
const UPLOAD_ID_BYTES_MAX: usize = 200;

/// Whether a refusal is about the number of requests.
fn is_limit(answer: &Answer) -> bool {
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    header("retry-after").is_some() || header("x-ratelimit-remaining") == Some("0")
}

/// A text as path segments of an address.
fn segments(text: &str) -> String {
    const SEGMENTS: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
    percent_encoding::utf8_percent_encode(text, SEGMENTS).to_string()
}

/// Repositories that a check looks at; the others are much the same.
const CHECKED_MAX: usize = 20;

/// Whatever the answer is to. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(body: &[u8]) {
    drop(serde_json::from_slice::<Upload>(body));
    drop(serde_json::from_slice::<Processing>(body));
    drop(serde_json::from_slice::<Said>(body));
    let _ = serde_json::from_slice::<GitRef>(body).map(|found| is_commit(&found.object.sha));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::destination::PlatformKind;
    use crate::domain::ids::DestinationName;
    use crate::domain::time::Timestamp;

    fn opened(url: &str, options: &[(&str, &str)], token: Option<&str>) -> Result<GitHub, String> {
        let name = DestinationName::parse("github").unwrap();
        let mut destination = Destination::new(name, PlatformKind::GitHub, url.to_owned(), Timestamp(0));
        destination.options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        GitHub::open(&destination, token, &Trust::load()).map_err(|bad| bad.0)
    }

    #[test]
    fn the_api_of_each_edition_is_found_from_the_address_that_a_person_knows() {
        for (url, page, api) in [
            ("https://github.com", "https://github.com", "https://api.github.com/x"),
            ("https://api.github.com/", "https://github.com", "https://api.github.com/x"),
            ("https://acme.ghe.com/", "https://acme.ghe.com", "https://api.acme.ghe.com/x"),
            ("https://git.acme.example", "https://git.acme.example", "https://git.acme.example/api/v3/x"),
            ("https://git.acme.example/api/v3/", "https://git.acme.example", "https://git.acme.example/api/v3/x"),
        ] {
            let github = opened(url, &[("repository", "acme/shop")], Some("t")).unwrap();
            assert_eq!((github.page.as_str(), github.http.url("x").as_str()), (page, api), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let repository = ("repository", "acme/shop");
        for (url, options, token, why) in [
            ("https://github.com", &[][..], Some("t"), "repository=owner/name"),
            ("https://github.com", &[("repository", "acme")], Some("t"), "\"acme\" is no repository"),
            ("https://github.com", &[("repository.shop", "acme/..")], Some("t"), "\"acme/..\" is no repository"),
            ("https://github.com", &[repository, ("colour", "red")], Some("t"), "\"colour\" is no option of github"),
            ("https://github.com", &[repository, ("commit", "any")], Some("t"), "analysed or head"),
            ("https://github.com", &[repository, ("ref", "main")], Some("t"), "begins with refs/"),
            ("https://github.com", &[repository, ("suppressions", "x")], Some("t"), "false-positives"),
            ("https://github.com", &[repository], None, "needs a token"),
            ("https://github.com", &[repository], Some(" \n"), "needs a token"),
            ("http://git.acme.example", &[repository], Some("t"), "unencrypted"),
        ] {
            let refused = opened(url, options, token).err().unwrap_or_default();
            assert!(refused.contains(why), "{why}: {refused}");
        }
    }
}
