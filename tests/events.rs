//! Signed events, told to a receiver that verifies everything.
//!
//! What can go wrong: a receiver that cannot verify what it gets, an event that is told twice under two ids or
//! never, one that overtakes another, and a platform that takes a refusal of one for a refusal of all.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/wire.rs"]
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hydrophone::domain::destination::{Destination, PlatformKind};
use hydrophone::domain::finding::{Finding, Kind, Observed, Severity, SonarWords, State};
use hydrophone::domain::ids::{
    AssetName, ChangeNumber, DestinationName, FindingId, IssueKey, OrganizationKey, ProjectKey, RuleKey, ScopeId,
    ScopeKind, ScopeName, SourceName,
};
use hydrophone::domain::message::{Cause, Held, Message, Place, RuleText, Target};
use hydrophone::domain::reconcile::ChangeKind;
use hydrophone::domain::time::Timestamp;
use hydrophone::platform::{self, Manner, Platform, Pushed, Told, Trouble};
use hydrophone::sys::trust::Trust;
use receiver::{Receiver, Reply, Verdict};
use serde_json::json;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const FORMER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn a_state_that_comes_back_is_news_when_everything_is_told_anew() {
    // The log was cut while a finding was gone and came back: that it is open again is another message than that it was.
    let seeded = |began| {
        let cause = Cause::Seeded(ChangeNumber(began));
        Message { cause, ..change(5, 14, ChangeKind::Opened, None, State::Open) }.idempotency_key()
    };
    assert_eq!(seeded(7), seeded(7));
    assert_ne!(seeded(7), seeded(9));
}

#[test]
fn changes_arrive_in_order_signed_and_over_tls() {
    let receiver = Receiver::start_tls(SECRET);
    let mut destination = destination(&receiver.url());
    destination.ca_pem = Some(receiver.authority());
    let mut events = open(&destination, SECRET);
    assert_eq!(events.abilities().manner, Manner::Changes);
    let batch = [
        change(1, 12, ChangeKind::Opened, None, State::Open),
        change(2, 13, ChangeKind::Opened, None, State::Open),
        change(3, 12, ChangeKind::Triaged, Some(State::Open), State::Open),
        change(4, 12, ChangeKind::Fixed, Some(State::Open), State::Fixed),
        Message { cause: Cause::Present, ..change(5, 14, ChangeKind::Opened, None, State::Open) },
    ];
    let told = batch.iter().map(|message| (message.finding.id, Told::Yes(None))).collect();
    assert_eq!(push(&mut *events, &batch), Pushed { told, trouble: None });
    assert!(receiver.calls().iter().all(|call| call.verdict == Verdict::New));

    let seen: Vec<_> = receiver
        .events()
        .iter()
        .map(|event| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (text(&event["type"]), text(&event["subject"]), text(&event["data"]["state"]))
        })
        .collect();
    let expected = [
        ("opened", "F12", "open"),
        ("opened", "F13", "open"),
        ("triaged", "F12", "open"),
        ("fixed", "F12", "fixed"),
        ("present", "F14", "open"),
    ];
    let expected = expected
        .map(|(kind, subject, state)| (format!("dev.hydrophone.finding.{kind}"), subject.to_owned(), state.to_owned()));
    assert_eq!(seen, expected);
    assert_eq!(
        receiver.events()[3],
        json!({
            "specversion": "1.0",
            "id": batch[3].idempotency_key(),
            "source": "hydrophone:/cloud/acme/acme%3Ashop",
            "type": "dev.hydrophone.finding.fixed",
            "subject": "F12",
            "time": "2026-11-02T03:04:05Z",
            "datacontenttype": "application/json",
            "data": {
                "id": "F12",
                "key": "AYissue12",
                "source": "cloud",
                "organization": "acme",
                "project": "acme:shop",
                "branch": "main",
                "pull_request": false,
                "asset": "Shop",
                "kind": "vulnerability",
                "rule": "java:S2077",
                "title": "SQL queries should not be vulnerable",
                "message": "Make sure this \"query\" is safe – «日本» 🐟.",
                "severity": "high",
                "state": "fixed",
                "path": "src/Main.java",
                "line": 42,
                "cwe": [89, 564],
                "url": "https://sonarcloud.io/project/issues?id=acme%3Ashop&issues=AYissue12&open=AYissue12",
                "created_at": "2026-10-01T00:00:00Z",
                "updated_at": "2026-10-02T00:00:00Z",
                "closed_at": null,
                "first_seen_at": "2026-10-03T00:00:00Z",
                "previous_state": "open",
                "change": "C4",
            },
        })
    );
}

#[test]
fn an_answer_that_is_lost_leads_to_the_same_id_again_and_to_one_event() {
    for lost in [Reply::FailAfterAccepting, Reply::CloseAfterAccepting] {
        let receiver = Receiver::start(SECRET);
        let mut events = open(&destination(&receiver.url()), SECRET);
        let batch = [
            change(1, 12, ChangeKind::Opened, None, State::Open),
            change(2, 12, ChangeKind::Fixed, Some(State::Open), State::Fixed),
        ];
        receiver.answer(lost);
        let pushed = push(&mut *events, &batch);
        // The second must not overtake the first.
        assert_eq!(pushed.told, []);
        assert!(matches!(pushed.trouble, Some(Trouble::Later { .. })), "{:?}", pushed.trouble);
        assert_eq!(receiver.calls().len(), 1);

        let pushed = push(&mut *events, &batch);
        assert_eq!((pushed.told.len(), pushed.trouble), (2, None));
        let verdicts: Vec<_> = receiver.calls().into_iter().map(|call| call.verdict).collect();
        assert_eq!(verdicts, [Verdict::New, Verdict::Replay, Verdict::New]);
        assert_eq!(receiver.events().len(), 2);
    }
}

#[test]
fn every_answer_means_what_the_specification_says() {
    let receiver = Receiver::start(SECRET);
    let mut events = open(&destination(&receiver.url()), SECRET);
    let host = receiver.url().split('/').nth(2).unwrap().to_owned();
    let batch = [change(1, 12, ChangeKind::Opened, None, State::Open)];
    let mut trouble = |reply: Reply| {
        receiver.answer(reply);
        let pushed = push(&mut *events, &batch);
        assert_eq!(pushed.told, []);
        pushed.trouble.unwrap()
    };
    let later = |why: &str, after: Option<u64>| Trouble::Later {
        why: format!("{host} {why}"),
        after: after.map(Duration::from_secs),
    };
    let refused = |why: &str, remedy: &str| Trouble::refused(format!("{host} {why}"), remedy);

    assert_eq!(trouble(Reply::Status(410)), Trouble::Gone { why: format!("{host} wants no more events (HTTP 410)") });
    let wait = |status, wish: &str| Reply::With(status, vec![("retry-after", wish.to_owned())]);
    assert_eq!(trouble(wait(429, "70")), later("asks for a pause (HTTP 429)", Some(70)));
    assert_eq!(trouble(wait(503, "7")), later("cannot answer for now (HTTP 503)", Some(7)));
    assert_eq!(trouble(wait(408, "x")), later("asks to be told again (HTTP 408)", None));
    for status in [500, 502, 504] {
        assert_eq!(trouble(Reply::Status(status)), later(&format!("cannot answer for now (HTTP {status})"), None));
    }
    let in_a_year = "Fri, 01 Jan 2100 00:00:00 GMT";
    assert!(
        matches!(trouble(wait(429, in_a_year)), Trouble::Later { after: Some(after), .. } if after.as_secs() > 1000)
    );

    let moved = Reply::With(302, vec![("location", "http://169.254.169.254/latest".to_owned())]);
    assert_eq!(
        trouble(moved),
        refused(
            "answers that it has moved to \"http://169.254.169.254/latest\" (HTTP 302)",
            "if that is right, add the destination with that address"
        )
    );
    for status in [401, 403] {
        assert_eq!(
            trouble(Reply::Status(status)),
            refused(
                &format!("refuses the signature (HTTP {status})"),
                "give the receiver this destination's secret, or this destination the receiver's"
            )
        );
    }
    for status in [404, 405] {
        assert_eq!(
            trouble(Reply::Status(status)),
            refused(&format!("takes no events at this address (HTTP {status})"), "check the destination's address")
        );
    }
    assert!(receiver.events().is_empty());
}

#[test]
fn an_event_that_is_refused_holds_up_no_other() {
    let receiver = Receiver::start(SECRET);
    let mut events = open(&destination(&receiver.url()), SECRET);
    receiver.answer(Reply::Text(422, "no\nsuch project"));
    let batch =
        [change(1, 12, ChangeKind::Opened, None, State::Open), change(2, 13, ChangeKind::Opened, None, State::Open)];
    let host = receiver.url().split('/').nth(2).unwrap().to_owned();
    let refused = Told::Refused(format!("{host} refuses this event (HTTP 422): no such project"));
    assert_eq!(
        push(&mut *events, &batch),
        Pushed { told: vec![(FindingId(12), refused), (FindingId(13), Told::Yes(None))], trouble: None }
    );
}

#[test]
fn a_receiver_that_hangs_is_given_up_in_time() {
    let receiver = Receiver::start(SECRET);
    let mut destination = destination(&receiver.url());
    destination.options.insert("timeout".to_owned(), "1".to_owned());
    let mut events = open(&destination, SECRET);
    receiver.answer(Reply::Hang);
    let began = Instant::now();
    let pushed = push(&mut *events, &[change(1, 12, ChangeKind::Opened, None, State::Open)]);
    assert!(matches!(pushed.trouble, Some(Trouble::Later { .. })), "{:?}", pushed.trouble);
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
}

#[test]
fn a_receiver_that_is_away_is_tried_again_later() {
    let url = Receiver::start(SECRET).url();
    let mut events = open(&destination(&url), SECRET);
    // The port may still be answered by the one that ends.
    for _ in 0..2 {
        let pushed = push(&mut *events, &[change(1, 12, ChangeKind::Opened, None, State::Open)]);
        assert!(matches!(pushed.trouble, Some(Trouble::Later { .. })), "{:?}", pushed.trouble);
    }
}

#[test]
fn while_a_secret_is_rotated_both_sign() {
    let receiver = Receiver::start(FORMER);
    let both = format!("{SECRET}\n{FORMER}\n");
    let mut events = open(&destination(&receiver.url()), &both);
    let mut change_no = 0;
    let mut told = |events: &mut dyn Platform| {
        change_no += 1;
        push(events, &[change(change_no, 12, ChangeKind::Updated, Some(State::Open), State::Open)]).trouble
    };
    assert_eq!(told(&mut *events), None);
    receiver.know(&[SECRET]);
    assert_eq!(told(&mut *events), None);
    let signatures = &receiver.calls()[1].request.headers["webhook-signature"];
    assert_eq!(signatures.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);

    let mut former = open(&destination(&receiver.url()), FORMER);
    let trouble = told(&mut *former).unwrap();
    assert!(matches!(trouble, Trouble::Refused { .. }), "{trouble:?}");
    assert_eq!(receiver.calls()[2].verdict, Verdict::Bad("wrong signature"));
}

#[test]
fn a_signature_that_is_refused_because_of_a_clock_says_so() {
    let receiver = Receiver::start(SECRET);
    let mut events = open(&destination(&receiver.url()), SECRET);
    receiver.set_ahead(3600);
    let trouble = push(&mut *events, &[change(1, 12, ChangeKind::Opened, None, State::Open)]).trouble.unwrap();
    assert_eq!(receiver.calls()[0].verdict, Verdict::Bad("too old or too new"));
    let text = trouble.to_string();
    assert!(text.contains("s from this box's") && text.contains("set the clock that is wrong"), "{text}");
}

#[test]
fn an_event_stays_below_20_kb_and_says_what_was_shortened() {
    let receiver = Receiver::start(SECRET);
    let mut events = open(&destination(&receiver.url()), SECRET);
    let mut large = change(1, 12, ChangeKind::Opened, None, State::Open);
    large.finding.observed.message = "ж\u{1}\"🐟".repeat(50_000);
    let rule = Arc::make_mut(&mut large.rule);
    rule.name = Some("\\".repeat(30_000));
    large.finding.observed.path = Some(format!("src/{}/x.java", "é".repeat(9_000)));
    rule.cwe = (0..10_000).collect();
    let mut middling = change(2, 13, ChangeKind::Opened, None, State::Open);
    middling.finding.observed.message = "m".repeat(30_000);
    assert_eq!(push(&mut *events, &[large, middling]).trouble, None);

    let told = receiver.events();
    assert_eq!(told.len(), 2);
    assert!(receiver.calls().iter().all(|call| call.request.body.len() <= 20_000));
    assert_eq!(told[0]["data"]["cut"], json!(["title", "message", "path"]));
    assert!(told[0]["data"]["message"].as_str().unwrap().starts_with("ж\u{1}\"🐟ж"));
    assert_eq!(told[1]["data"]["cut"], json!(["message"]));
    assert_eq!(told[1]["data"]["message"], format!("{}…", "m".repeat(4000)));
    assert_eq!(told[1]["data"]["path"], "src/Main.java");
}

#[test]
fn the_longest_names_fit_too() {
    let receiver = Receiver::start(SECRET);
    let mut events = open(&destination(&receiver.url()), SECRET);
    let mut place = place();
    place.organization = OrganizationKey::parse(&"\"".repeat(255)).unwrap();
    place.project = ProjectKey::parse(&"\\".repeat(400)).unwrap();
    place.branch = ScopeName::parse(&"\"".repeat(255)).unwrap();
    place.asset = AssetName::parse(&"\"".repeat(400)).unwrap();
    let mut message = change(1, 12, ChangeKind::Opened, None, State::Open);
    message.finding.observed.key = IssueKey::parse(&"\"".repeat(255)).unwrap();
    message.finding.observed.rule = Some(RuleKey::parse(&"\\".repeat(400)).unwrap());
    message.finding.observed.message = "\u{1}".repeat(4000);
    message.finding.observed.path = Some("\u{1}".repeat(4000));
    message.url = format!("https://sonarcloud.io/{}", "%22".repeat(255 * 3 + 400));
    message.rule = Arc::new(RuleText { name: None, cwe: vec![u32::MAX; 100], description: None });
    assert_eq!(events.push(&place, &mut Target::default(), &[message]).trouble, None);
    assert_eq!(receiver.calls()[0].verdict, Verdict::New);
    assert!(receiver.calls()[0].request.body.len() <= 20_000);
}

#[test]
fn a_decision_of_sonar_is_told_only_where_that_is_wanted() {
    let receiver = Receiver::start(SECRET);
    let mut destination = destination(&receiver.url());
    let message = change(1, 12, ChangeKind::Triaged, Some(State::Accepted), State::Open);
    push(&mut *open(&destination, SECRET), std::slice::from_ref(&message));
    destination.triage_from_sonar = true;
    let mut other = message;
    other.finding.id = FindingId(13);
    push(&mut *open(&destination, SECRET), &[other]);
    let before: Vec<_> = receiver.events().iter().map(|event| event["data"]["previous_state"].clone()).collect();
    assert_eq!(before, ["open", "accepted"]);
}

#[test]
fn a_check_sends_a_ping_that_is_about_no_finding() {
    let receiver = Receiver::start(SECRET);
    let mut events = open(&destination(&receiver.url()), &format!("{SECRET} {FORMER}"));
    let lines = events.check().unwrap();
    let what: Vec<_> = lines.iter().map(|line| (line.what, line.good)).collect();
    assert_eq!(what, [("address", true), ("secret", true), ("ping", true)]);
    assert_eq!(lines[2].text, "a signed event dev.hydrophone.ping, which is no finding, was taken (HTTP 204)");
    events.check().unwrap();
    let told = receiver.events();
    assert_eq!(told.len(), 2, "two pings have two ids");
    assert_eq!((&told[0]["type"], &told[0]["data"]["destination"]), (&json!("dev.hydrophone.ping"), &json!("siem")));

    receiver.know(&["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]);
    let lines = events.check().unwrap();
    assert!(!lines[2].good && lines[2].text.contains("refuses the signature (HTTP 401)"), "{}", lines[2].text);
    receiver.answer(Reply::Text(400, "unknown type"));
    let lines = events.check().unwrap();
    assert!(!lines[2].good && lines[2].text.contains("types that it does not know"), "{}", lines[2].text);
    receiver.answer(Reply::Close);
    assert!(matches!(events.check(), Err(Trouble::Later { .. })));
}

#[test]
fn what_cannot_be_right_is_refused_before_anything_is_sent() {
    let trust = Trust::load();
    let said = |destination: &Destination, secret: Option<&str>| match platform::open(destination, secret, &trust) {
        Ok(_) => String::new(),
        Err(bad) => bad.to_string(),
    };
    let with = |url: &str, options: &[(&str, &str)]| {
        let mut destination = destination(url);
        destination.options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        destination
    };
    let plain = "events to http://siem.example/in would travel unencrypted, open to anyone on the way: use an address \
                 that begins with https://, or give the option plain=yes if the way is safe";
    for (url, options, expected) in [
        ("https://siem.example/in", &[][..], ""),
        ("http://127.0.0.1:9/in", &[], ""),
        ("http://localhost:9/in", &[("plain", "no")], ""),
        ("http://siem.example/in", &[("plain", "yes")], ""),
        ("http://siem.example/in", &[], plain),
        ("http://10.0.0.7/in", &[("plain", "si")], "the option plain is yes or no, not \"si\""),
        (
            "https://siem.example/",
            &[("colour", "red")],
            "\"colour\" is no option of events; they are: conditions, plain, timeout",
        ),
        ("https://siem.example/", &[("timeout", "0")], "the option timeout is 1 to 30 seconds, not \"0\""),
        ("https://siem.example/", &[("timeout", "31")], "the option timeout is 1 to 30 seconds, not \"31\""),
    ] {
        assert_eq!(said(&with(url, options), Some(SECRET)), expected, "{url} {options:?}");
    }
    assert!(said(&destination("ftp://siem.example/"), Some(SECRET)).contains("https://"));
    let https = destination("https://siem.example/in");
    assert_eq!(said(&https, None), "events are signed with a secret, and none was given");
    let wrong = said(&https, Some("hunter2-hunter2"));
    assert!(wrong.contains("whsec_") && !wrong.contains("hunter2"), "{wrong}");
}

fn open(destination: &Destination, secret: &str) -> Box<dyn Platform> {
    platform::open(destination, Some(secret), &Trust::load()).unwrap()
}

fn push(events: &mut dyn Platform, batch: &[Message]) -> Pushed {
    events.push(&place(), &mut Target::default(), batch)
}

fn destination(url: &str) -> Destination {
    let name = DestinationName::parse("siem").unwrap();
    Destination::new(name, PlatformKind::Events, url.to_owned(), at("2026-11-01T00:00:00Z"))
}

fn place() -> Place {
    Place {
        scope: ScopeId(1),
        source: SourceName::parse("cloud").unwrap(),
        site: None,
        source_url: "https://sonarcloud.io".to_owned(),
        cloud: true,
        organization: OrganizationKey::parse("acme").unwrap(),
        project: ProjectKey::parse("acme:shop").unwrap(),
        project_name: "Shop".to_owned(),
        repository: None,
        asset: AssetName::parse("Shop").unwrap(),
        branch: ScopeName::parse("main").unwrap(),
        scope_kind: ScopeKind::Branch,
        main: true,
        analysed_at: Some(at("2026-11-02T03:00:00Z")),
        revision: None,
        complete: true,
        held: Held::default(),
    }
}

fn change(number: u64, finding: u64, kind: ChangeKind, from: Option<State>, state: State) -> Message {
    let key = format!("AYissue{finding}");
    let observed = Observed {
        key: IssueKey::parse(&key).unwrap(),
        kind: Kind::Vulnerability,
        rule: Some(RuleKey::parse("java:S2077").unwrap()),
        message: "Make sure this \"query\" is safe – «日本» 🐟.".to_owned(),
        severity: Severity::High,
        state,
        path: Some("src/Main.java".to_owned()),
        line: Some(42),
        range: None,
        created_at: Some(at("2026-10-01T00:00:00Z")),
        updated_at: Some(at("2026-10-02T00:00:00Z")),
        closed_at: None,
        sonar: SonarWords::default(),
        flows: Vec::new(),
    };
    Message {
        cause: Cause::Changed { number: ChangeNumber(number), kind, from, at: at("2026-11-02T03:04:05Z") },
        finding: Finding {
            id: FindingId(finding),
            slot: 0,
            observed,
            first_seen_at: at("2026-10-03T00:00:00Z"),
            closed_at: None,
            closed_by: None,
            former: Vec::new(),
        },
        state,
        rule: Arc::new(RuleText {
            name: Some("SQL queries should not be vulnerable".to_owned()),
            cwe: vec![89, 564],
            description: None,
        }),
        known: None,
        url: format!("https://sonarcloud.io/project/issues?id=acme%3Ashop&issues={key}&open={key}"),
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}
