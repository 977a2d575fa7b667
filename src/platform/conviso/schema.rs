//! What the schema of an account offers, as introspection says it. Conviso documents only a part of its API, and
//! servers differ: what one does not know is not sent to it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::documents::{
    BATCH, CHANGE_STATUS, CREATE_ASSET, CREATE_SAST, Mutation, SYNC_BEGIN, SYNC_END, UPSERT_SAST, UPSERT_SECRET,
};

/// How findings are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// Many at once.
    Batch,
    /// One by one, created or updated.
    Single,
    /// One by one, and only created.
    CreateOnly,
}

/// A member of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its type, without list and non-null.
    pub(super) of: String,
    /// Whether it has to be given.
    pub(super) required: bool,
}

/// Members of an input, by name.
pub(super) type Members = BTreeMap<String, Member>;

/// What is known of a schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Schema {
    /// Mutations, and the type of the input of each.
    pub(super) mutations: BTreeMap<String, String>,
    /// Queries, and the types of their arguments.
    pub(super) queries: BTreeMap<String, BTreeMap<String, String>>,
    /// Inputs by the name of their mutation; those of a batch also by `batch.finding`, `batch.sast`, `batch.secret`.
    pub(super) inputs: BTreeMap<String, Members>,
    /// Values of `ToolTypeCategory`.
    pub(super) tools: Vec<String>,
    /// Values of the enum of statuses.
    pub(super) statuses: BTreeSet<String>,
    /// Whether introspection was refused, and all of this is assumed.
    pub(super) assumed: bool,
}

impl Schema {
    /// What all published clients of Conviso rely on, for a server that refuses introspection.
    pub(super) fn assumed() -> Self {
        let known = [UPSERT_SAST, CHANGE_STATUS, CREATE_ASSET, SYNC_BEGIN, SYNC_END];
        let mutations = known.iter().map(|one| (one.name.to_owned(), one.input.to_owned())).collect();
        let members = |names: &[&str]| -> Members {
            let member = |name: &&str| ((*name).to_owned(), Member { of: "String".to_owned(), required: false });
            names.iter().map(member).collect()
        };
        let mut inputs = BTreeMap::new();
        inputs.insert(UPSERT_SAST.name.to_owned(), members(ASSUMED_FINDING));
        inputs.insert(CHANGE_STATUS.name.to_owned(), members(&["id", "status", "reason"]));
        inputs.insert(SYNC_BEGIN.name.to_owned(), members(&["assetId", "integration", "externalVulnerabilityCount"]));
        Self { mutations, inputs, assumed: true, ..Self::default() }
    }

    /// Whether there is such a mutation.
    pub(super) fn has(&self, mutation: Mutation) -> bool {
        self.mutations.contains_key(mutation.name)
    }

    /// How findings are told; nothing where they cannot be.
    pub(super) fn route(&self) -> Option<Route> {
        if self.has(BATCH) && self.inputs.contains_key(BATCH_SAST) {
            return Some(Route::Batch);
        }
        if self.has(UPSERT_SAST) {
            return Some(Route::Single);
        }
        self.has(CREATE_SAST).then_some(Route::CreateOnly)
    }

    /// Members of the input that a finding is told in.
    pub(super) fn finding_members(&self, route: Route, secret: bool) -> Option<&Members> {
        self.inputs.get(match (route, secret) {
            (Route::Batch, false) => BATCH_SAST,
            (Route::Batch, true) => BATCH_SECRET,
            (Route::Single, false) => UPSERT_SAST.name,
            (Route::Single, true) => UPSERT_SECRET.name,
            (Route::CreateOnly, false) => CREATE_SAST.name,
            (Route::CreateOnly, true) => return None,
        })
    }

    /// Whether an input has a member.
    pub(super) fn takes(&self, input: &str, member: &str) -> bool {
        self.inputs.get(input).is_some_and(|members| members.contains_key(member))
    }

    /// The value of `ToolTypeCategory` for what this box tells, and whether it is Sonar's. A server whose values are
    /// not known is told the one that all clients use.
    pub(super) fn integration(&self) -> (&str, bool) {
        let sonar = |cloud: bool| {
            self.tools.iter().find(|one| one.contains("SONAR") && (!cloud || one.contains("CLOUD"))).map(String::as_str)
        };
        if let Some(value) = sonar(true).or_else(|| sonar(false)) {
            return (value, true);
        }
        let other = OTHER_TOOLS.iter().find(|one| self.tools.iter().any(|tool| tool == *one)).copied();
        (other.or(self.tools.first().map(String::as_str)).unwrap_or(OTHER_TOOLS[0]), false)
    }
}

/// The members of one element of a batch.
pub(super) const BATCH_FINDING: &str = "batch.finding";
/// The members of its finding in source code.
pub(super) const BATCH_SAST: &str = "batch.sast";
/// The members of its secret.
pub(super) const BATCH_SECRET: &str = "batch.secret";
/// The enum that integrations are named by.
pub(super) const TOOLS: &str = "ToolTypeCategory";
/// The enum of statuses.
pub(super) const STATUSES: &str = "IssueStatusLabel";

/// What stands in for Sonar where the enum has no value for it.
const OTHER_TOOLS: &[&str] = &["CONVISO_AST", "CONVISO_SCANNER"];

/// What Conviso's own command line sends of a finding.
const ASSUMED_FINDING: &[&str] = &[
    "assetId",
    "title",
    "description",
    "severity",
    "solution",
    "category",
    "reference",
    "fileName",
    "vulnerableLine",
    "firstLine",
    "codeSnippet",
    "originalIssueIdFromTool",
];

/// Reads the fields of a type, each with its arguments and their types.
pub(super) fn operations(data: &Value) -> BTreeMap<String, BTreeMap<String, String>> {
    let fields = list(&data["__type"]["fields"]);
    let arguments =
        |field: &Value| list(&field["args"]).filter_map(|one| Some((name(one)?, innermost(&one["type"])?))).collect();
    fields.filter_map(|field| Some((name(field)?, arguments(field)))).collect()
}

/// Reads the members of an input.
pub(super) fn members(data: &Value) -> Members {
    let member = |one: &Value| {
        let required = one["type"]["kind"] == "NON_NULL";
        Some((name(one)?, Member { of: innermost(&one["type"])?, required }))
    };
    list(&data["__type"]["inputFields"]).filter_map(member).collect()
}

/// Reads the values of an enum.
pub(super) fn values(data: &Value) -> Vec<String> {
    list(&data["__type"]["enumValues"]).filter_map(name).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A name as GraphQL has them; another would change the document that it is written into.
fn name(value: &Value) -> Option<String> {
    let name = value["name"].as_str()?;
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(good)).then(|| name.to_owned())
}

fn innermost(of: &Value) -> Option<String> {
    if of["ofType"].is_object() { innermost(&of["ofType"]) } else { name(of) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_tools(tools: &[&str]) -> Schema {
        Schema { tools: tools.iter().map(|one| (*one).to_owned()).collect(), ..Schema::default() }
    }

    #[test]
    fn sonars_own_integration_is_preferred_and_another_stands_in() {
        assert_eq!(with_tools(&["SNYK", "SONARQUBE", "SONARCLOUD"]).integration(), ("SONARCLOUD", true));
        assert_eq!(with_tools(&["SNYK", "SONARQUBE"]).integration(), ("SONARQUBE", true));
        assert_eq!(with_tools(&["SNYK", "CONVISO_SCANNER", "CONVISO_AST"]).integration(), ("CONVISO_AST", false));
        assert_eq!(with_tools(&["SNYK"]).integration(), ("SNYK", false));
        assert_eq!(with_tools(&[]).integration(), ("CONVISO_AST", false));
    }

    #[test]
    fn members_say_their_innermost_type_and_whether_they_must_be_given() {
        let data = json!({"__type": {"inputFields": [
            {"name": "findings", "type": {"kind": "NON_NULL", "name": null, "ofType": {"kind": "LIST", "name": null,
                "ofType": {"kind": "NON_NULL", "name": null, "ofType": {"kind": "INPUT_OBJECT", "name": "One"}}}}},
            {"name": "branch", "type": {"kind": "SCALAR", "name": "String", "ofType": null}},
        ]}});
        let member = |of: &str, required| Member { of: of.to_owned(), required };
        let expected = [("branch", member("String", false)), ("findings", member("One", true))];
        assert_eq!(members(&data), expected.map(|(name, member)| (name.to_owned(), member)).into());
    }

    #[test]
    fn names_that_would_change_a_document_are_left_out() {
        let data = json!({"__type": {"fields": [
            {"name": "good", "args": [{"name": "input", "type": {"name": "X!) { evil } #"}}]},
            {"name": "b ad", "args": []},
        ]}});
        assert_eq!(operations(&data), [("good".to_owned(), BTreeMap::new())].into());
        assert!(operations(&json!({"__type": null})).is_empty());
    }

    #[test]
    fn the_best_route_that_there_is_is_taken() {
        let mut schema = Schema::default();
        assert_eq!(schema.route(), None);
        schema.mutations.insert(CREATE_SAST.name.to_owned(), "I".to_owned());
        assert_eq!(schema.route(), Some(Route::CreateOnly));
        schema.mutations.insert(UPSERT_SAST.name.to_owned(), "I".to_owned());
        assert_eq!(schema.route(), Some(Route::Single));
        schema.mutations.insert(BATCH.name.to_owned(), "I".to_owned());
        assert_eq!(schema.route(), Some(Route::Single), "a batch without findings in source code is of no use");
        schema.inputs.insert(BATCH_SAST.to_owned(), Members::new());
        assert_eq!(schema.route(), Some(Route::Batch));
    }
}
