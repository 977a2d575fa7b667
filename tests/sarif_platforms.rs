//! Whole scopes as SARIF: into a folder, and to a simulated GitHub.
//!
//! What can go wrong: a reader meets half a file, two branches share one, an analysis that was not processed counts as
//! told, one without a commit is told of another, and what is absent because of a failure closes alerts.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/github.rs"]
mod github;
#[path = "support/sarif.rs"]
mod judge;
#[path = "support/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use github::{GitHub, said};
use hydrophone::domain::destination::{Destination, PlatformKind};
use hydrophone::domain::finding::{Finding, Kind, Observed, Severity, SonarWords, State};
use hydrophone::domain::ids::{
    AssetName, DestinationName, FindingId, IssueKey, OrganizationKey, ProjectKey, RuleKey, ScopeId, ScopeKind,
    ScopeName, SourceName,
};
use hydrophone::domain::message::{Cause, Held, Message, Place, RuleText, Target};
use hydrophone::domain::time::Timestamp;
use hydrophone::platform::{self, Manner, Platform, Trouble};
use hydrophone::sys::trust::Trust;
use serde_json::Value;
use tempfile::TempDir;
use wire::Response;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NEWER: &str = "89abcdef0123456789abcdef0123456789abcdef";
const TOKEN: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";

#[test]
fn a_branch_is_one_file_that_is_replaced_whole() {
    let folder = TempDir::new().unwrap();
    let mut sarif = folder_platform(folder.path(), &[]);
    assert_eq!(sarif.abilities().manner, Manner::Scopes);
    publish(&mut *sarif, &place(), vec![finding(1), finding(2)]).unwrap();
    let names = names(folder.path());
    assert_eq!(names.len(), 1);
    let hash = names[0].strip_prefix("acme_shop_main-").and_then(|rest| rest.strip_suffix(".sarif"));
    assert!(hash.is_some_and(|hash| hash.len() == 12), "{names:?}");

    let log = read(&folder.path().join(&names[0]));
    let keys: Vec<_> =
        results(&log).iter().map(|result| result["fingerprints"]["sonarIssueKey/v1"].as_str().unwrap()).collect();
    assert_eq!(keys, ["AY1", "AY2"]);
    assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][0]["shortDescription"]["text"], "Queries should be safe");
    assert_eq!(log["runs"][0]["invocations"][0]["endTimeUtc"], "2026-11-02T03:00:00Z");

    // What is fixed is absent; a branch without findings is told, too.
    publish(&mut *sarif, &place(), vec![]).unwrap();
    assert_eq!(self::names(folder.path()), names);
    assert!(results(&read(&folder.path().join(&names[0]))).is_empty());
}

#[test]
fn findings_that_cannot_be_read_leave_the_former_file() {
    let folder = TempDir::new().unwrap();
    let mut sarif = folder_platform(folder.path(), &[]);
    publish(&mut *sarif, &place(), vec![finding(1)]).unwrap();
    let mut broken = vec![Ok(finding(1)), Err(Trouble::later("the disk is failing"))].into_iter();
    let told = sarif.publish(&place(), &mut Target::default(), &mut broken);
    assert_eq!(told, Err(Trouble::later("the disk is failing")));
    let names = names(folder.path());
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(results(&read(&folder.path().join(&names[0]))).len(), 1);
}

#[test]
fn two_branches_never_share_a_file_and_none_leaves_the_folder() {
    let folder = TempDir::new().unwrap();
    let mut sarif = folder_platform(folder.path(), &[]);
    let of = |source: &str, organization: &str, project: &str, branch: &str, scope_kind| Place {
        source: SourceName::parse(source).unwrap(),
        organization: OrganizationKey::parse(organization).unwrap(),
        project: ProjectKey::parse(project).unwrap(),
        branch: ScopeName::parse(branch).unwrap(),
        scope_kind,
        ..place()
    };
    let long = "l".repeat(255);
    let branch = ScopeKind::Branch;
    let places = [
        of("cloud", "acme", "shop", "main", branch),
        of("server", "acme", "shop", "main", branch),
        of("cloud", "acme", "Shop", "main", branch),
        of("cloud", "a_b", "c", "main", branch),
        of("cloud", "a", "b_c", "main", branch),
        of("cloud", "acme", "shop", "7", branch),
        of("cloud", "acme", "shop", "7", ScopeKind::PullRequest),
        of("cloud", "acme", "shop", "feature/x", branch),
        of("cloud", "acme", "shop", "feature-x", branch),
        of("cloud", "acme", "shop", "../../etc/passwd", branch),
        of("cloud", "..", "..", "..", branch),
        of("cloud", &long, &long, &long, branch),
        of("cloud", &long, &long, &format!("{}m", &long[1..]), branch),
        of("cloud", "acme", "shop", "日本 🐟 \"'`$(x);", branch),
    ];
    for place in &places {
        publish(&mut *sarif, place, vec![]).unwrap();
    }
    let names = names(folder.path());
    let without_case: BTreeSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(without_case.len(), places.len(), "{names:?}");
    for name in &names {
        assert!(!name.starts_with('.') && name.len() <= 220, "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{name}");
        read(&folder.path().join(name));
    }
}

#[test]
fn former_versions_are_kept_by_their_time_of_analysis() {
    let folder = TempDir::new().unwrap();
    let mut sarif = folder_platform(folder.path(), &[("keep", "2")]);
    for (at, count) in [("2026-11-02T03:00:00Z", 1), ("2026-11-03T03:00:00Z", 2), ("2026-11-04T03:00:00Z", 3)] {
        let place = Place { analysed_at: Some(Timestamp::parse(at).unwrap()), ..place() };
        publish(&mut *sarif, &place, (1..=count).map(finding).collect()).unwrap();
        // A decision in between changes the version, and makes none.
        publish(&mut *sarif, &place, (1..=count).map(finding).collect()).unwrap();
    }
    let other = Place { branch: ScopeName::parse("main-2").unwrap(), ..place() };
    publish(&mut *sarif, &other, vec![]).unwrap();
    let former = names(&folder.path().join("former"));
    let times: Vec<_> = former.iter().map(|name| name.rsplit('-').next().unwrap()).collect();
    assert_eq!(times, ["20261102T030000Z.sarif", "20261103T030000Z.sarif", "20261104T030000Z.sarif"], "{former:?}");
    assert!(former[0].contains("main-2"));
    assert_eq!(results(&read(&folder.path().join("former").join(&former[1]))).len(), 2);
    assert_eq!(names(folder.path()).len(), 3, "two branches, and the folder of versions");
}

#[test]
fn a_folder_is_checked_by_writing_into_it() {
    let folder = TempDir::new().unwrap();
    let lines = folder_platform(folder.path(), &[]).check().unwrap();
    assert!(lines[0].good && names(folder.path()).is_empty());

    let missing = folder.path().join("missing");
    let mut sarif = folder_platform(&missing, &[]);
    let line = &sarif.check().unwrap()[0];
    assert!(!line.good && line.text.contains("does not exist; make or mount it"), "{}", line.text);
    let told = publish(&mut *sarif, &place(), vec![]);
    assert!(matches!(told, Err(Trouble::Refused { .. })), "{told:?}");

    fs::write(&missing, "").unwrap();
    let line = &sarif.check().unwrap()[0];
    assert!(!line.good && line.text.contains("is no folder"), "{}", line.text);

    for (url, options, why) in [
        ("sarif", &[][..], "give its whole path"),
        ("/srv/sarif", &[("keep", "-1")], "0 to 1000"),
        ("/srv/sarif", &[("keep", "1001")], "0 to 1000"),
        ("/srv/sarif", &[("colour", "red")], "\"colour\" is no option of sarif"),
        ("/srv/sarif", &[("suppressions", "some")], "false-positives"),
    ] {
        let refused = platform::open(&destination(PlatformKind::Sarif, url, options), None, &Trust::load());
        let refused = refused.err().map(|bad| bad.to_string()).unwrap_or_default();
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

#[test]
fn an_analysis_is_told_when_github_has_processed_it() {
    let github = server();
    let mut platform = github_platform(&github, &[]);
    github.edit(|model| model.pending = 1);
    publish(&mut *platform, &analysed(), vec![finding(1), finding(2)]).unwrap();
    assert_eq!(
        github.edit(|model| model.calls.clone()),
        [
            "POST /api/v3/repos/acme/shop/code-scanning/sarifs",
            "GET /api/v3/repos/acme/shop/code-scanning/sarifs/upload-1",
            "GET /api/v3/repos/acme/shop/code-scanning/sarifs/upload-1",
        ]
    );
    github.edit(|model| {
        let upload = &model.repositories["acme/shop"].uploads[0];
        assert_eq!((&*upload.commit, &*upload.git_ref, &*upload.tool), (COMMIT, "refs/heads/main", "SonarQube"));
    });
    let log = github.last_log("acme/shop");
    judge::assert_valid(&log);
    judge::assert_fit_for_github(&log);
    assert_eq!(log["runs"][0]["versionControlProvenance"][0]["revisionId"], COMMIT);
    let repository = format!("{}/acme/shop", github.url());
    assert_eq!(log["runs"][0]["versionControlProvenance"][0]["repositoryUri"], repository);
    let alerts = github.alerts("acme/shop");
    assert_eq!(alerts.len(), 2);
    assert!(alerts.iter().all(|alert| alert.state == "open" && alert.category == "sonar/acme/shop/main"));
}

#[test]
fn what_is_absent_is_closed_and_what_was_dismissed_stays_so() {
    let github = server();
    let mut platform = github_platform(&github, &[]);
    publish(&mut *platform, &analysed(), vec![finding(1), finding(2), finding(3)]).unwrap();
    github.edit(|model| model.repositories.get_mut("acme/shop").unwrap().alerts[1].state = "dismissed");
    let pull = Place {
        scope: ScopeId(2),
        scope_kind: ScopeKind::PullRequest,
        branch: ScopeName::parse("7").unwrap(),
        ..analysed()
    };
    publish(&mut *platform, &pull, vec![]).unwrap();
    assert_eq!(github.edit(|model| model.repositories["acme/shop"].uploads[1].git_ref.clone()), "refs/pull/7/head");
    assert!(github.alerts("acme/shop").iter().all(|alert| alert.state != "fixed"));

    publish(&mut *platform, &analysed(), vec![finding(1)]).unwrap();
    let mut states: Vec<_> = github.alerts("acme/shop").iter().map(|alert| alert.state).collect();
    states.sort_unstable();
    assert_eq!(states.len(), 3);
    assert!(states.contains(&"dismissed") && states.contains(&"fixed"), "{states:?}");
}

#[test]
fn findings_of_an_unknown_commit_are_told_only_where_that_is_wanted() {
    let github = server();
    let told = publish(&mut *github_platform(&github, &[]), &place(), vec![finding(1)]);
    assert_eq!(
        told,
        Err(Trouble::target(
            "it is not known which commit of shop main Sonar analysed",
            "let the analysis read the repository's history, or give the option commit=head to name the newest one"
        ))
    );
    assert!(github.edit(|model| model.calls.is_empty()));

    let mut platform = github_platform(&github, &[("commit", "head")]);
    publish(&mut *platform, &place(), vec![finding(1)]).unwrap();
    publish(&mut *platform, &analysed(), vec![finding(1)]).unwrap();
    let commits = github.edit(|model| {
        let uploads = &model.repositories["acme/shop"].uploads;
        uploads.iter().map(|upload| upload.commit.clone()).collect::<Vec<_>>()
    });
    assert_eq!(commits, [NEWER, COMMIT]);

    let gone = Place { branch: ScopeName::parse("gone").unwrap(), ..place() };
    let told = publish(&mut *platform, &gone, vec![]);
    assert!(matches!(&told, Err(Trouble::Target { why, .. }) if why.contains("no refs/heads/gone")), "{told:?}");
    let mut other = github_platform(&github, &[("commit", "head"), ("ref", "refs/heads/release/{branch}")]);
    let told = publish(&mut *other, &gone, vec![]);
    assert!(matches!(&told, Err(Trouble::Target { why, .. }) if why.contains("refs/heads/release/gone")), "{told:?}");
}

#[test]
fn an_analysis_that_fails_is_not_told() {
    let github = server();
    let mut platform = github_platform(&github, &[]);
    github.edit(|model| model.failure = Some("rejecting SARIF, as there are more alerts than allowed."));
    let told = publish(&mut *platform, &analysed(), vec![finding(1)]);
    assert!(matches!(&told, Err(Trouble::Target { why, .. }) if why.contains("more alerts than allowed")), "{told:?}");
    github.edit(|model| model.failure = None);
    let unknown = Place { revision: Some("f".repeat(40)), ..place() };
    let told = publish(&mut *platform, &unknown, vec![finding(1)]);
    assert!(matches!(&told, Err(Trouble::Target { why, .. }) if why.contains("commit not found")), "{told:?}");
    assert!(github.alerts("acme/shop").is_empty());
}

#[test]
fn an_analysis_that_github_takes_long_for_is_asked_for_and_not_sent_again() {
    let github = server();
    let mut platform = github_platform(&github, &[]);
    github.edit(|model| model.pending = 5);
    let told = publish(&mut *platform, &analysed(), vec![finding(1)]);
    assert!(matches!(&told, Err(Trouble::Later { why, .. }) if why.contains("has not processed")), "{told:?}");
    publish(&mut *platform, &analysed(), vec![finding(1)]).unwrap();
    assert_eq!(github.edit(|model| model.repositories["acme/shop"].uploads.len()), 1);
}

#[test]
fn each_refusal_of_github_says_what_to_do() {
    let github = server();
    let mut platform = github_platform(&github, &[("repository.other", "acme/unknown")]);
    let mut trouble = |answer: Option<Response>| {
        github.edit(|model| model.answers.extend(answer));
        publish(&mut *platform, &analysed(), vec![finding(1)]).unwrap_err()
    };
    let with = |status, name, value: &str| Response {
        headers: vec![(name, value.to_owned())],
        ..said(status, "You have exceeded a secondary rate limit.")
    };
    assert!(matches!(trouble(Some(said(401, "Bad credentials"))), Trouble::Refused { .. }));
    let later = trouble(Some(with(403, "retry-after", "60")));
    assert!(matches!(later, Trouble::Later { after: Some(after), .. } if after == Duration::from_mins(1)), "{later}");
    assert!(matches!(trouble(Some(with(403, "x-ratelimit-remaining", "0"))), Trouble::Later { .. }));
    assert!(matches!(trouble(Some(said(503, "Service unavailable"))), Trouble::Later { .. }));
    assert!(matches!(trouble(Some(said(413, "Payload too large"))), Trouble::Target { .. }));
    let refused = trouble(Some(said(400, "Invalid SARIF.")));
    assert!(matches!(&refused, Trouble::Target { why, .. } if why.contains("Invalid SARIF.")), "{refused}");
    github.edit(|model| model.repositories.get_mut("acme/shop").unwrap().code_security = false);
    let refused = trouble(None);
    assert!(matches!(&refused, Trouble::Target { why, .. } if why.contains("must be enabled")), "{refused}");

    let other = Place { project: ProjectKey::parse("other").unwrap(), ..analysed() };
    let refused = publish(&mut *platform, &other, vec![]).unwrap_err();
    assert!(matches!(&refused, Trouble::Target { why, .. } if why.contains("acme/unknown")), "{refused}");
    let mut only = open(&destination(PlatformKind::GitHub, &github.url(), &[("repository.other", "acme/shop")]));
    let refused = publish(&mut *only, &analysed(), vec![]).unwrap_err();
    assert!(matches!(&refused, Trouble::Target { why, .. } if why.contains("no repository is named")), "{refused}");
}

#[test]
fn more_findings_than_github_takes_are_not_told_in_part() {
    let github = server();
    let mut platform = github_platform(&github, &[]);
    let mut many = (0..25_001).map(|number| Ok(finding(number)));
    let told = platform.publish(&analysed(), &mut Target::default(), &mut many);
    assert!(matches!(&told, Err(Trouble::Target { why, .. }) if why.contains("25001 findings")), "{told:?}");
    assert!(github.edit(|model| model.calls.is_empty()));
}

#[test]
fn a_check_looks_at_each_repository_and_at_the_token() {
    let github = server();
    let lines = |platform: &mut dyn Platform| {
        let lines = platform.check().unwrap();
        lines.iter().map(|line| (line.what, line.good)).collect::<Vec<_>>()
    };
    let mut platform = github_platform(&github, &[("repository.other", "acme/unknown")]);
    let expected = [("repository", true), ("code scanning", true), ("repository", false)];
    assert_eq!(lines(&mut *platform), expected);
    github.edit(|model| model.scopes = Some("read:org, security_events"));
    let mut platform = github_platform(&github, &[]);
    assert_eq!(lines(&mut *platform), [("repository", true), ("token", true), ("code scanning", true)]);
    github.edit(|model| {
        model.scopes = Some("read:org");
        model.repositories.get_mut("acme/shop").unwrap().code_security = false;
    });
    assert_eq!(lines(&mut *platform), [("repository", true), ("token", false), ("code scanning", false)]);
    github.edit(|model| model.token = "another".to_owned());
    assert_eq!(lines(&mut *platform), [("token", false)]);
    assert!(github.edit(|model| model.repositories["acme/shop"].uploads.is_empty()));
}

fn server() -> GitHub {
    let github = GitHub::start(TOKEN, "acme/shop", &[("refs/heads/main", NEWER)]);
    github.edit(|model| model.repositories.get_mut("acme/shop").unwrap().commits.insert(COMMIT.to_owned()));
    github
}

fn github_platform(github: &GitHub, options: &[(&str, &str)]) -> Box<dyn Platform> {
    let options = [&[("repository", "acme/shop")], options].concat();
    open(&destination(PlatformKind::GitHub, &github.url(), &options))
}

fn folder_platform(folder: &Path, options: &[(&str, &str)]) -> Box<dyn Platform> {
    open(&destination(PlatformKind::Sarif, folder.to_str().unwrap(), options))
}

fn open(destination: &Destination) -> Box<dyn Platform> {
    platform::open(destination, Some(TOKEN), &Trust::load()).unwrap()
}

fn destination(kind: PlatformKind, url: &str, options: &[(&str, &str)]) -> Destination {
    let name = DestinationName::parse("sarif").unwrap();
    let mut destination = Destination::new(name, kind, url.to_owned(), Timestamp(0));
    destination.options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    destination
}

fn publish(platform: &mut dyn Platform, place: &Place, findings: Vec<Message>) -> Result<(), Trouble> {
    platform.publish(place, &mut Target::default(), &mut findings.into_iter().map(Ok))
}

/// What is in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(path: &Path) -> Value {
    let log = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    judge::assert_valid(&log);
    judge::assert_fit_for_github(&log);
    log
}

fn results(log: &Value) -> &[Value] {
    assert_eq!(log["runs"].as_array().unwrap().len(), 1);
    log["runs"][0]["results"].as_array().unwrap()
}

fn analysed() -> Place {
    Place { revision: Some(COMMIT.to_owned()), ..place() }
}

fn place() -> Place {
    Place {
        scope: ScopeId(1),
        source: SourceName::parse("cloud").unwrap(),
        site: None,
        source_url: "https://sonarcloud.io".to_owned(),
        cloud: true,
        organization: OrganizationKey::parse("acme").unwrap(),
        project: ProjectKey::parse("shop").unwrap(),
        project_name: "Shop".to_owned(),
        repository: None,
        asset: AssetName::parse("Shop").unwrap(),
        branch: ScopeName::parse("main").unwrap(),
        scope_kind: ScopeKind::Branch,
        main: true,
        analysed_at: Some(Timestamp::parse("2026-11-02T03:00:00Z").unwrap()),
        revision: None,
        complete: true,
        held: Held::default(),
    }
}

fn finding(number: u32) -> Message {
    let key = format!("AY{number}");
    let observed = Observed {
        key: IssueKey::parse(&key).unwrap(),
        kind: Kind::Vulnerability,
        rule: Some(RuleKey::parse("java:S2077").unwrap()),
        message: "Make sure this query is safe.".to_owned(),
        severity: Severity::High,
        state: State::Open,
        path: Some("src/Main.java".to_owned()),
        line: Some(number + 1),
        range: None,
        created_at: None,
        updated_at: None,
        closed_at: None,
        sonar: SonarWords { hash: Some(format!("{number:032x}")), ..SonarWords::default() },
        flows: Vec::new(),
    };
    Message {
        cause: Cause::Present,
        finding: Finding {
            id: FindingId(u64::from(number)),
            slot: 0,
            observed,
            first_seen_at: Timestamp(0),
            closed_at: None,
            closed_by: None,
            former: Vec::new(),
        },
        state: State::Open,
        rule: Arc::new(RuleText {
            name: Some("Queries should be safe".to_owned()),
            cwe: vec![89],
            description: Some("<p>They may be injected.</p>".to_owned()),
        }),
        known: None,
        url: format!("https://sonarcloud.io/project/issues?id=shop&issues={key}&open={key}"),
    }
}
