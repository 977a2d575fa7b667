//! A webhook call: what its body says, whether it is the same call again, and what becomes of it.
//!
//! The body carries no findings, only the hint that a scope should be read again (facts: Sonar's
//! `WebhookPayloadFactoryImpl`). Everything in it but the project may be absent.

use minicbor::{Decode, Encode};
use serde::Deserialize;

use super::finding::Digest;
use super::ids::{ProjectKey, ScopeKind, ScopeName};
use super::loose::{Leaf, Object};
use super::time::Timestamp;

/// Which scope of a project a call speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum ScopeRef {
    /// The main branch, whatever its name.
    #[n(0)]
    Main,
    /// A branch or pull request by name.
    #[n(1)]
    Named {
        /// Branch or pull request.
        #[n(0)]
        kind: ScopeKind,
        /// Its name, or the request's key.
        #[n(1)]
        name: ScopeName,
    },
}

/// How Sonar's analysis task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum TaskStatus {
    /// The analysis is done; also sent when an issue change flips the gate.
    #[n(0)]
    Success,
    /// It failed: earlier findings are unchanged and say nothing about it.
    #[n(1)]
    Failed,
}

impl TaskStatus {
    /// Sonar's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
        }
    }
}

/// A body that passed the signature check and could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The project.
    pub project: ProjectKey,
    /// The branch or pull request.
    pub scope: ScopeRef,
    /// The main branch's name where the body says it.
    pub branch: Option<ScopeName>,
    /// How the task ended. A word that is not known counts as a success: it may only cause a look.
    pub status: TaskStatus,
    /// The analysis task; absent when an issue change fired the call.
    pub task: Option<String>,
    /// When the change was made.
    pub changed_at: Option<Timestamp>,
    /// The quality gate's colour.
    pub gate: Option<String>,
    /// The mark of a call that this box sent to itself, to see whether it arrives; Sonar's own have none.
    pub test: Option<String>,
}

/// Why a signed body is answered 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum BadPayload {
    /// Not a JSON object.
    #[n(0)]
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// No `project.key` that could be one.
    #[n(1)]
    #[error("the body names no project")]
    NoProject,
    /// The header `X-SonarQube-Project` names another project than the body.
    #[n(2)]
    #[error("header and body name different projects")]
    ProjectDisagrees,
    /// The endpoint belongs to one project and the body names another.
    #[n(3)]
    #[error("this endpoint accepts another project only")]
    OtherProject,
}

/// What is read of the body. One of an unexpected type costs that member and not the delivery. `properties` is not read
/// at all: users keep secrets in it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wire<'d> {
    #[serde(borrow)]
    task_id: Leaf<'d>,
    #[serde(borrow)]
    status: Leaf<'d>,
    #[serde(borrow)]
    analysed_at: Leaf<'d>,
    #[serde(borrow)]
    changed_at: Leaf<'d>,
    #[serde(borrow)]
    project: Object<'d>,
    #[serde(borrow)]
    branch: Object<'d>,
    #[serde(borrow)]
    quality_gate: Object<'d>,
    #[serde(borrow)]
    hydrophone: Object<'d>,
}

impl Payload {
    /// Reads a body whose signature was right.
    pub fn parse(body: &[u8], project_header: Option<&str>) -> Result<Self, BadPayload> {
        // Serde would also take an array for the struct, member by member in their order.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(BadPayload::NotAnObject);
        }
        let wire: Wire = serde_json::from_slice(body).map_err(|_| BadPayload::NotAnObject)?;
        let project =
            wire.project.text("key").and_then(|key| ProjectKey::parse(key).ok()).ok_or(BadPayload::NoProject)?;
        if project_header.is_some_and(|header| header != project.as_str()) {
            return Err(BadPayload::ProjectDisagrees);
        }
        let name = wire.branch.text("name").and_then(|name| ScopeName::parse(name).ok());
        let is_main = wire.branch.flag("isMain");
        // Cloud and 7.x say LONG and SHORT, newer Servers BRANCH.
        let kind = match wire.branch.text("type") {
            Some("PULL_REQUEST") => ScopeKind::PullRequest,
            _ => ScopeKind::Branch,
        };
        let scope = match (&name, is_main, kind) {
            (None, ..) | (_, Some(true), ScopeKind::Branch) => ScopeRef::Main,
            (Some(name), _, kind) => ScopeRef::Named { kind, name: name.clone() },
        };
        let time = |leaf: &Leaf| leaf.as_text().and_then(|text| Timestamp::parse(text).ok());
        Ok(Self {
            project,
            scope,
            branch: name,
            status: match wire.status.as_text() {
                Some("FAILED" | "CANCELED") => TaskStatus::Failed,
                _ => TaskStatus::Success,
            },
            task: wire.task_id.as_text().filter(|task| !task.is_empty() && task.len() <= 100).map(str::to_owned),
            changed_at: time(&wire.changed_at).or_else(|| time(&wire.analysed_at)),
            gate: wire.quality_gate.text("status").map(|gate| gate.chars().take(20).collect()),
            test: wire.hydrophone.text("test").map(|mark| mark.chars().take(TEST_MARK_CHARACTERS_MAX).collect()),
        })
    }

    /// The body of a call that this box sends to itself: of the form of Sonar's, with a mark that is signed with the rest,
    /// so that nobody without the secret can make one. Whatever it names, it changes nothing.
    pub fn test_body(mark: &str, project: Option<&ProjectKey>) -> String {
        let project = project.map_or(TEST_PROJECT, ProjectKey::as_str);
        serde_json::json!({
            "taskId": mark,
            "status": "SUCCESS",
            "project": { "key": project, "name": project },
            "properties": {},
            "hydrophone": { "test": mark },
        })
        .to_string()
    }

    /// What two calls must share to be the same call. Sonar sends one event up to twenty times, once to each
    /// hook, with different signatures; none of them carries an id of its own.
    pub fn identity(&self, body: &[u8]) -> Identity {
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        let mut add = |part: &str| {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        };
        add(self.project.as_str());
        match &self.scope {
            ScopeRef::Main => add("main"),
            ScopeRef::Named { kind, name } => {
                add(if *kind == ScopeKind::Branch { "branch" } else { "pull request" });
                add(name.as_str());
            }
        }
        add(self.status.as_str());
        let lasting = match (&self.task, self.changed_at) {
            (Some(task), _) => {
                add("task");
                add(task);
                true
            }
            (None, Some(changed_at)) => {
                add("change");
                add(&changed_at.0.to_string());
                add(self.gate.as_deref().unwrap_or_default());
                true
            }
            (None, None) => {
                hash.update(body);
                false
            }
        };
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.finish().as_ref()[..16]);
        Identity { digest: Digest(digest), lasting }
    }
}

/// What a test names where it is of a whole organization; only its form matters.
const TEST_PROJECT: &str = "hydrophone-test";

/// Ours have 32.
const TEST_MARK_CHARACTERS_MAX: usize = 64;

/// See [`Payload::identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Equal for the same call.
    pub digest: Digest,
    /// Whether equality holds for ever, or only for calls that arrive within ten minutes of each other.
    pub lasting: bool,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// Its scope is to be read.
    #[n(0)]
    Queued,
    /// Its scope was read after it arrived.
    #[n(1)]
    Synced,
    /// The project is not imported.
    #[n(2)]
    NotImported,
    /// The branch or pull request is not among those that were chosen at import.
    #[n(3)]
    NotSelected,
    /// The task failed: nothing to read.
    #[n(4)]
    TaskFailed,
    /// The same call came before and was settled.
    #[n(5)]
    Duplicate,
    /// Signed, but not to be used; answered 400.
    #[n(6)]
    Malformed,
    /// The project or branch was removed before its scope could be read.
    #[n(7)]
    Dropped,
    /// Sent by this box to itself, to see whether it arrives.
    #[n(8)]
    Test,
    /// The box that works for this site took it over from this one, which stands by.
    #[n(9)]
    HandedOver,
}

impl Outcome {
    /// The word in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Synced => "synced",
            Self::NotImported => "not_imported",
            Self::NotSelected => "not_selected",
            Self::TaskFailed => "task_failed",
            Self::Duplicate => "duplicate",
            Self::Malformed => "malformed",
            Self::Dropped => "dropped",
            Self::Test => "test",
            Self::HandedOver => "handed_over",
        }
    }
}

/// What is known when the outcome is decided, in the transaction that stores the delivery.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// How the task ended.
    pub status: TaskStatus,
    /// Whether the project is imported.
    pub imported: bool,
    /// Whether branch or pull request were chosen at import.
    pub selected: bool,
    /// What became of the same call before, if there was one.
    pub former: Option<Outcome>,
}

/// Decides the outcome. A failed task changes no findings; a duplicate runs again unless the former call was
/// settled by reading the scope.
pub fn outcome(now: Circumstances) -> Outcome {
    match now {
        Circumstances { status: TaskStatus::Failed, .. } => Outcome::TaskFailed,
        Circumstances { imported: false, .. } => Outcome::NotImported,
        Circumstances { selected: false, .. } => Outcome::NotSelected,
        Circumstances { former: Some(Outcome::Synced | Outcome::Duplicate), .. } => Outcome::Duplicate,
        Circumstances { .. } => Outcome::Queued,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Payload, BadPayload> {
        Payload::parse(body.as_bytes(), None)
    }

    #[test]
    fn everything_but_the_project_may_be_absent() {
        let payload = parse(r#"{"project":{"key":"P1"}}"#).unwrap();
        assert_eq!(
            payload,
            Payload {
                project: ProjectKey::parse("P1").unwrap(),
                scope: ScopeRef::Main,
                branch: None,
                status: TaskStatus::Success,
                task: None,
                changed_at: None,
                gate: None,
                test: None,
            }
        );
    }

    #[test]
    fn a_member_of_an_unexpected_type_does_not_cost_the_delivery() {
        let payload = parse(r#"{"project":{"key":"P1"},"taskId":7,"branch":"main","qualityGate":[]}"#).unwrap();
        assert_eq!((payload.task, payload.scope, payload.gate), (None, ScopeRef::Main, None));
    }

    #[test]
    fn cloud_and_server_words_for_branches_mean_the_same() {
        let named = |kind, name: &str| ScopeRef::Named { kind, name: ScopeName::parse(name).unwrap() };
        let scope = |branch: &str| parse(&format!(r#"{{"project":{{"key":"P"}},"branch":{branch}}}"#)).unwrap().scope;
        assert_eq!(scope(r#"{"name":"master","type":"LONG","isMain":true}"#), ScopeRef::Main);
        assert_eq!(scope(r#"{"name":"x","type":"SHORT","isMain":false}"#), named(ScopeKind::Branch, "x"));
        assert_eq!(scope(r#"{"name":"x","type":"BRANCH","isMain":false}"#), named(ScopeKind::Branch, "x"));
        assert_eq!(scope(r#"{"name":"7","type":"PULL_REQUEST","isMain":false}"#), named(ScopeKind::PullRequest, "7"));
        assert_eq!(scope(r#"{"type":"BRANCH","isMain":true}"#), ScopeRef::Main);
    }

    #[test]
    fn what_is_answered_400_says_why() {
        assert_eq!(parse("[]"), Err(BadPayload::NotAnObject));
        assert_eq!(parse(r#"[null,null,null,null,{"key":"P1"},null,null]"#), Err(BadPayload::NotAnObject));
        assert!(parse(" \r\n\t{\"project\":{\"key\":\"P1\"}}").is_ok());
        assert_eq!(parse("{"), Err(BadPayload::NotAnObject));
        assert_eq!(parse("{}"), Err(BadPayload::NoProject));
        assert_eq!(parse(r#"{"project":{"key":""}}"#), Err(BadPayload::NoProject));
        assert_eq!(parse(r#"{"project":"P1"}"#), Err(BadPayload::NoProject));
        assert_eq!(Payload::parse(br#"{"project":{"key":"P1"}}"#, Some("P2")), Err(BadPayload::ProjectDisagrees));
    }

    #[test]
    fn the_same_task_of_the_same_scope_is_the_same_call_whatever_the_bytes() {
        let one = r#"{"project":{"key":"P"},"taskId":"t","status":"SUCCESS","qualityGate":{"status":"OK"}}"#;
        let two = r#"{"taskId":"t","project":{"key":"P"},"status":"SUCCESS"}"#;
        let identity = |body: &str| parse(body).unwrap().identity(body.as_bytes());
        assert_eq!(identity(one), identity(two));
        for other in [
            r#"{"project":{"key":"P"},"taskId":"u","status":"SUCCESS"}"#,
            r#"{"project":{"key":"P"},"taskId":"t","status":"FAILED"}"#,
            r#"{"project":{"key":"Q"},"taskId":"t","status":"SUCCESS"}"#,
            r#"{"project":{"key":"P"},"taskId":"t","branch":{"name":"b","type":"BRANCH"}}"#,
        ] {
            assert_ne!(identity(one), identity(other), "{other}");
        }
    }

    #[test]
    fn without_a_task_time_and_gate_decide_and_without_both_the_bytes_for_a_while() {
        let identity = |body: &str| parse(body).unwrap().identity(body.as_bytes());
        let changed = |gate: &str| {
            identity(&format!(
                r#"{{"project":{{"key":"P"}},"changedAt":"2024-01-01T00:00:00+0000","qualityGate":{{"status":"{gate}"}}}}"#
            ))
        };
        assert!(changed("OK").lasting);
        assert_eq!(changed("OK"), changed("OK"));
        assert_ne!(changed("OK"), changed("ERROR"));
        let bare = identity(r#"{"project":{"key":"P"}}"#);
        assert!(!bare.lasting);
        assert_ne!(bare, identity(r#"{"project":{"key":"P"} }"#));
    }

    #[test]
    fn a_test_is_known_by_its_mark_and_by_nothing_else() {
        let own = ProjectKey::parse("shop").unwrap();
        for project in [None, Some(&own)] {
            let payload = parse(&Payload::test_body("0f1e", project)).unwrap();
            assert_eq!(payload.test.as_deref(), Some("0f1e"));
            assert_eq!(payload.project.as_str(), project.map_or("hydrophone-test", ProjectKey::as_str));
        }
        for other in [r#"{"project":{"key":"hydrophone-test"}}"#, r#"{"project":{"key":"P"},"hydrophone":{"test":7}}"#]
        {
            assert_eq!(parse(other).unwrap().test, None, "{other}");
        }
    }

    #[test]
    fn a_failed_task_never_leads_to_a_read_and_an_unsettled_duplicate_does() {
        let now = Circumstances { status: TaskStatus::Success, imported: true, selected: true, former: None };
        assert_eq!(outcome(now), Outcome::Queued);
        assert_eq!(outcome(Circumstances { status: TaskStatus::Failed, ..now }), Outcome::TaskFailed);
        assert_eq!(outcome(Circumstances { imported: false, ..now }), Outcome::NotImported);
        assert_eq!(outcome(Circumstances { selected: false, ..now }), Outcome::NotSelected);
        for (former, then) in [
            (Outcome::Queued, Outcome::Queued),
            (Outcome::NotImported, Outcome::Queued),
            (Outcome::Synced, Outcome::Duplicate),
            (Outcome::Duplicate, Outcome::Duplicate),
        ] {
            assert_eq!(outcome(Circumstances { former: Some(former), ..now }), then, "{former:?}");
        }
    }
}
