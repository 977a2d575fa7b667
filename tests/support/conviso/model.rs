//! What the platform knows, and how it changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::execute::CODE_ENDS;
use super::{BatchAnswer, Conviso, Guesses, UpsertKey};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asset {
    pub id: u64,
    pub name: String,
    pub integrations: Vec<String>,
    pub repository: Option<String>,
    pub branch: Option<String>,
    pub business_impact: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub id: u64,
    pub asset: u64,
    pub branch: Option<String>,
    /// `originalIssueIdFromTool`; entered by hand without one.
    pub tool_id: Option<String>,
    /// What was said of it last.
    pub said: BTreeMap<String, String>,
    pub secret: bool,
    pub status: String,
    pub created_at: i64,
    pub updated_at: i64,
    /// Status, when, why, by whom.
    pub history: Vec<(String, i64, Option<String>, &'static str)>,
    /// How often it was told.
    pub told: usize,
    /// Searches that do not find it yet.
    pub unseen: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    pub id: u64,
    pub asset: String,
    pub integration: String,
    pub expected: u64,
    pub branch: Option<String>,
    pub success: Option<u64>,
    pub failure: u64,
    pub reason: Option<String>,
}

pub struct Model {
    guesses: Guesses,
    pub assets: Vec<Asset>,
    pub issues: Vec<Issue>,
    pub syncs: Vec<Sync>,
    /// Status changes in bulk that wait to be done.
    pub jobs: Vec<(Vec<String>, String)>,
    /// Titles of findings that are refused.
    pub poison: Vec<String>,
    /// Whether the key's user may write.
    pub may_write: bool,
    next_id: u64,
    /// Milliseconds; a second passes with every change.
    now: i64,
}

type Answered = Result<Value, String>;

fn coded(code: &str, message: &str) -> String {
    format!("{code}{CODE_ENDS}{message}")
}

impl Model {
    pub(super) fn new(guesses: Guesses) -> Model {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Model {
            guesses,
            assets: Vec::new(),
            issues: Vec::new(),
            syncs: Vec::new(),
            jobs: Vec::new(),
            poison: Vec::new(),
            may_write: true,
            next_id: 100,
            now: i64::try_from(now.as_millis()).expect("a time in this age"),
        }
    }

    pub fn add_asset(&mut self, name: &str) -> u64 {
        let id = self.new_id();
        self.assets.push(Asset { id, name: name.to_owned(), ..Asset::default() });
        id
    }

    pub fn asset(&self, name: &str) -> &Asset {
        self.assets.iter().find(|asset| asset.name == name).unwrap_or_else(|| panic!("there is no asset {name}"))
    }

    /// The one issue with Sonar's key.
    pub fn issue(&self, key: &str) -> &Issue {
        let mut all = self.issues.iter().filter(|issue| issue.tool_id.as_deref() == Some(key));
        let one = all.next().unwrap_or_else(|| panic!("there is no issue {key}"));
        assert!(all.next().is_none(), "{key} is there twice");
        one
    }

    /// A person changes the status of an issue.
    pub fn decide(&mut self, key: &str, status: &str, reason: &str) {
        let id = self.issue(key).id;
        self.set_status(id, status, Some(reason), "human@example");
    }

    /// Does what waits in bulk.
    pub fn run_jobs(&mut self) {
        for (ids, status) in std::mem::take(&mut self.jobs) {
            for id in ids.iter().filter_map(|id| id.parse().ok()) {
                self.set_status(id, &status, None, "job");
            }
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn tick(&mut self) -> i64 {
        self.now += 1_000;
        self.now
    }

    fn set_status(&mut self, id: u64, status: &str, reason: Option<&str>, author: &'static str) {
        let at = self.tick();
        if let Some(issue) = self.issues.iter_mut().find(|issue| issue.id == id) {
            status.clone_into(&mut issue.status);
            issue.updated_at = at;
            issue.history.push((status.to_owned(), at, reason.map(str::to_owned), author));
        }
    }

    fn permitted(&self, status: &str) -> Vec<&'static str> {
        match status {
            "CREATED" | "DRAFT" if self.guesses.created_may_be_fixed => {
                vec!["IDENTIFIED", "FIX_ACCEPTED", "RISK_ACCEPTED", "FALSE_POSITIVE"]
            }
            "CREATED" | "DRAFT" => vec!["IDENTIFIED", "RISK_ACCEPTED", "FALSE_POSITIVE"],
            "IDENTIFIED" => {
                vec!["IN_PROGRESS", "AWAITING_VALIDATION", "FIX_ACCEPTED", "RISK_ACCEPTED", "FALSE_POSITIVE"]
            }
            "IN_PROGRESS" => {
                vec!["IDENTIFIED", "AWAITING_VALIDATION", "FIX_ACCEPTED", "RISK_ACCEPTED", "FALSE_POSITIVE"]
            }
            "AWAITING_VALIDATION" => vec!["IDENTIFIED", "IN_PROGRESS", "FIX_ACCEPTED", "RISK_ACCEPTED"],
            "FIX_ACCEPTED" | "RISK_ACCEPTED" | "FALSE_POSITIVE" => vec!["IDENTIFIED"],
            _ => Vec::new(),
        }
    }

    /// Answers one field of a query or mutation.
    pub(super) fn answer(&mut self, field: &str, arguments: &Value) -> Answered {
        let reads = ["company", "assets", "issues"].contains(&field);
        if !reads && !self.may_write {
            return Err(coded("FORBIDDEN", "Permission denied"));
        }
        let input = &arguments["input"];
        match field {
            "company" if text(&arguments["id"]) == Conviso::COMPANY => {
                Ok(json!({"__typename": "Company", "id": Conviso::COMPANY, "label": "Acme"}))
            }
            "company" if self.guesses.unknown_company_is_an_error => Err(coded("NOT_FOUND", "Company not found")),
            "company" => Ok(Value::Null),
            "assets" => self.search_assets(arguments),
            "issues" => self.search_issues(arguments),
            "createAsset" => Ok(self.create_asset(input)),
            "updateAsset" => self.update_asset(input),
            "createSastFinding" => self.create(input),
            "createOrUpdateSastFinding" => self.one(input, false),
            "createOrUpdateSecretFinding" => self.one(input, true),
            "batchCreateOrUpdateFindings" => self.batch(input),
            "changeIssueStatus" => self.change_status(input),
            "bulkChangeIssueStatus" => {
                let ids = input["ids"].as_array().into_iter().flatten().map(text).collect();
                self.jobs.push((ids, text(&input["status"])));
                Ok(json!({"__typename": "JobPayload", "jobId": "1"}))
            }
            "createControlSyncStatus" => {
                let id = self.new_id();
                self.syncs.push(Sync {
                    id,
                    asset: text(&input["assetId"]),
                    integration: text(&input["integration"]),
                    expected: input["externalVulnerabilityCount"].as_u64().unwrap_or_default(),
                    branch: input["branchName"].as_str().map(str::to_owned),
                    ..Sync::default()
                });
                Ok(sync_payload(id))
            }
            "increaseIssueScanCount" => {
                let id = text(&input["controlSyncStatusId"]);
                let sync = self.syncs.iter_mut().find(|sync| sync.id.to_string() == id);
                let sync = sync.ok_or_else(|| coded("NOT_FOUND", "Control sync status not found"))?;
                sync.success = input["successCount"].as_u64();
                sync.failure = input["failureCount"].as_u64().unwrap_or_default();
                sync.reason = input["failureReason"].as_str().map(str::to_owned);
                Ok(sync_payload(sync.id))
            }
            other => Err(format!("{other} is not simulated")),
        }
    }

    fn check_company(arguments: &Value) -> Result<(), String> {
        if text(&arguments["companyId"]) == Conviso::COMPANY {
            return Ok(());
        }
        Err(coded("NOT_FOUND", "Company not found"))
    }

    fn search_assets(&self, arguments: &Value) -> Answered {
        Model::check_company(arguments)?;
        let wanted = arguments["search"]["name"].as_str().unwrap_or_default().to_lowercase();
        let fits = |asset: &&Asset| {
            let name = asset.name.to_lowercase();
            let parts = self.guesses.search_finds_parts && name.contains(&wanted);
            wanted.is_empty() || parts || name == wanted
        };
        let found: Vec<Value> = self.assets.iter().filter(fits).map(asset_node).collect();
        self.page("AssetCollection", found, &arguments["page"], &arguments["limit"])
    }

    fn search_issues(&mut self, arguments: &Value) -> Answered {
        Model::check_company(arguments)?;
        let unseen: Vec<u64> = self.issues.iter().filter(|issue| issue.unseen > 0).map(|issue| issue.id).collect();
        for issue in &mut self.issues {
            issue.unseen = issue.unseen.saturating_sub(1);
        }
        let filters = &arguments["filters"];
        let among =
            |list: &Value, value: &str| list.as_array().is_none_or(|all| all.iter().any(|one| text(one) == value));
        let mut found: Vec<&Issue> = self
            .issues
            .iter()
            .filter(|issue| {
                !unseen.contains(&issue.id)
                    && among(&filters["ids"], &issue.id.to_string())
                    && among(&filters["assetIds"], &issue.asset.to_string())
                    && among(&filters["statuses"], &issue.status)
            })
            .collect();
        let sort = &arguments["sortOptions"][0];
        match sort["sortBy"].as_str() {
            Some("UPDATED_AT") => found.sort_by_key(|issue| (issue.updated_at, issue.id)),
            Some("CREATED_AT") => found.sort_by_key(|issue| (issue.created_at, issue.id)),
            _ => found.sort_by_key(|issue| issue.id),
        }
        if sort["order"] == "DESC" {
            found.reverse();
        }
        let found = found.into_iter().map(|issue| self.issue_node(issue)).collect();
        let pagination = &arguments["pagination"];
        self.page("IssueCollection", found, &pagination["page"], &pagination["perPage"])
    }

    fn page(&self, of: &str, rows: Vec<Value>, page: &Value, size: &Value) -> Answered {
        let number = |value: &Value, default: usize| value.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(default);
        let (page, asked) = (number(page, 1).max(1), number(size, 10));
        if asked > self.guesses.per_page_max && self.guesses.per_page_refuses {
            return Err(format!("perPage must not be above {}", self.guesses.per_page_max));
        }
        let size = asked.clamp(1, self.guesses.per_page_max);
        let total = rows.len();
        let rows: Vec<Value> = rows.into_iter().skip((page - 1) * size).take(size).collect();
        Ok(json!({"__typename": of, "collection": rows, "metadata": {
            "__typename": "CollectionMetadata", "currentPage": page, "limitValue": size, "totalCount": total,
            "totalPages": total.div_ceil(size),
        }}))
    }

    fn create_asset(&mut self, input: &Value) -> Value {
        let name = text(&input["name"]);
        let repository = input["repoUrl"].as_str().filter(|_| input["branchName"].is_string()).map(key_of);
        if self.assets.iter().any(|asset| asset.name == name) {
            return json!({"__typename": "AssetPayload", "asset": null, "errors": ["Name has already been taken"]});
        }
        if repository.is_some() && self.assets.iter().any(|asset| asset.repository == repository) {
            return json!({"__typename": "AssetPayload", "asset": null, "errors": ["Repository already exists"]});
        }
        let id = self.add_asset(&name);
        let asset = self.assets.last_mut().expect("it was just added");
        asset.branch = repository.as_ref().and_then(|_| input["branchName"].as_str().map(str::to_owned));
        asset.repository = repository;
        asset.business_impact = input["businessImpact"].as_str().map(str::to_owned);
        json!({"__typename": "AssetPayload", "asset": {"__typename": "Asset", "id": id, "name": name}, "errors": []})
    }

    /// An address that another asset has folds this one into that.
    fn update_asset(&mut self, input: &Value) -> Answered {
        let id = text(&input["id"]);
        let repository = input["repoUrl"].as_str().filter(|_| input["branchName"].is_string()).map(key_of);
        let owner = self.assets.iter().find(|asset| repository.is_some() && asset.repository == repository).cloned();
        let at = self.assets.iter().position(|asset| asset.id.to_string() == id);
        let at = at.ok_or_else(|| coded("NOT_FOUND", "Asset not found"))?;
        let asset = match owner {
            Some(owner) if owner.id.to_string() != id => {
                self.assets.remove(at);
                owner
            }
            _ => {
                self.assets[at].repository = repository;
                self.assets[at].branch = input["branchName"].as_str().map(str::to_owned);
                self.assets[at].clone()
            }
        };
        Ok(json!({"__typename": "AssetPayload", "asset": asset_node(&asset), "errors": []}))
    }

    fn create(&mut self, input: &Value) -> Answered {
        let tool_id = input["originalIssueIdFromTool"].as_str();
        let asset = text(&input["assetId"]);
        let known = self.issues.iter().any(|one| one.asset.to_string() == asset && one.tool_id.as_deref() == tool_id);
        if known {
            return Err(coded("RECORD_NOT_UNIQUE", "Record is not unique"));
        }
        self.one(input, false)
    }

    fn one(&mut self, input: &Value, secret: bool) -> Answered {
        let id = self.upsert(&text(&input["assetId"]), input, secret)?;
        Ok(json!({"__typename": "FindingPayload", "issue": self.node(id)}))
    }

    fn batch(&mut self, input: &Value) -> Answered {
        let findings = input["findings"].as_array().cloned().unwrap_or_default();
        if findings.len() > self.guesses.batch_max {
            return Err(format!("too many findings: {}, at most {}", findings.len(), self.guesses.batch_max));
        }
        if self.guesses.batch_is_atomic
            && let Some(bad) = findings.iter().find_map(|one| self.bad(&one["sast"]))
        {
            return Err(bad);
        }
        let (mut issues, mut errors) = (Vec::new(), Vec::new());
        for (index, one) in findings.iter().enumerate() {
            let secret = one["secret"].is_object();
            let finding = if secret { &one["secret"] } else { &one["sast"] };
            match self.upsert(&text(&one["assetId"]), finding, secret) {
                Ok(id) => issues.push(self.node(id)),
                Err(error) => {
                    let (code, message) = error.split_once(CODE_ENDS).unwrap_or(("INVALID", &error));
                    errors
                        .push(json!({"__typename": "FindingError", "index": index, "code": code, "message": message}));
                    if self.guesses.batch_answer == BatchAnswer::Padded {
                        issues.push(Value::Null);
                    }
                }
            }
        }
        if self.guesses.batch_answer == BatchAnswer::Reordered {
            issues.reverse();
        }
        Ok(json!({"__typename": "BatchCreateOrUpdateFindingsPayload", "issues": issues, "findingErrors": errors}))
    }

    fn bad(&self, finding: &Value) -> Option<String> {
        let title = text(&finding["title"]);
        self.poison.contains(&title).then(|| format!("Title {title:?} is not valid"))
    }

    fn upsert(&mut self, asset: &str, finding: &Value, secret: bool) -> Result<u64, String> {
        if let Some(bad) = self.bad(finding) {
            return Err(bad);
        }
        let owner = self.assets.iter().find(|one| one.id.to_string() == asset);
        let owner = owner.ok_or_else(|| coded("NOT_FOUND", "Asset not found"))?;
        // A branch without a repository is silently dropped.
        let branch = finding["branch"].as_str().filter(|_| owner.repository.is_some()).map(str::to_owned);
        let asset = owner.id;
        let tool_id = finding["originalIssueIdFromTool"].as_str().map(str::to_owned);
        let said: BTreeMap<String, String> = finding
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "controlSyncStatusId")
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let place = |said: &BTreeMap<String, String>| {
            ["title", "fileName", "vulnerableLine"].map(|name| said.get(name).cloned().unwrap_or_default())
        };
        let key = self.guesses.upsert_key;
        let same = |one: &&mut Issue| {
            one.asset == asset
                && match key {
                    UpsertKey::ToolId => one.tool_id == tool_id,
                    UpsertKey::ToolIdAndBranch => one.tool_id == tool_id && one.branch == branch,
                    UpsertKey::Place => place(&one.said) == place(&said),
                }
        };
        let at = self.tick();
        if let Some(issue) = self.issues.iter_mut().find(same) {
            (issue.said, issue.tool_id, issue.updated_at) = (said, tool_id, at);
            issue.told += 1;
            let (id, fixed) = (issue.id, issue.status == "FIX_ACCEPTED");
            if fixed && self.guesses.upsert_reopens {
                self.set_status(id, "IDENTIFIED", None, "sync");
            }
            return Ok(id);
        }
        let id = self.new_id();
        self.issues.push(Issue {
            id,
            asset,
            branch,
            tool_id,
            said,
            secret,
            status: "CREATED".to_owned(),
            created_at: at,
            updated_at: at,
            history: vec![("CREATED".to_owned(), at, None, "sync")],
            told: 1,
            unseen: self.guesses.searches_lag,
        });
        Ok(id)
    }

    fn change_status(&mut self, input: &Value) -> Answered {
        let (id, status) = (text(&input["id"]), text(&input["status"]));
        let issue = self.issues.iter().find(|issue| issue.id.to_string() == id);
        let issue = issue.ok_or_else(|| coded("NOT_FOUND", "Issue not found"))?;
        let number = issue.id;
        if !self.permitted(&issue.status).contains(&status.as_str()) {
            return Err(format!("Status cannot be changed from {} to {status}", issue.status));
        }
        self.set_status(number, &status, input["reason"].as_str(), "api@example");
        Ok(json!({"__typename": "IssuePayload", "issue": self.node(number)}))
    }

    fn node(&self, id: u64) -> Value {
        self.issues.iter().find(|issue| issue.id == id).map(|issue| self.issue_node(issue)).unwrap_or_default()
    }

    fn issue_node(&self, issue: &Issue) -> Value {
        let history: Vec<Value> = issue
            .history
            .iter()
            .map(|(status, at, reason, _)| {
                json!({"__typename": "StatusHistory", "status": status, "createdAt": date(*at), "reason": reason})
            })
            .collect();
        let by_hand = issue.tool_id.is_none();
        json!({
            "__typename": if by_hand { "SourceCodeVulnerability" } else { "SastFinding" },
            "id": issue.id.to_string(), "title": issue.said.get("title").map_or("", String::as_str),
            "status": issue.status, "type": "SAST_FINDING", "scanSource": "conviso_ast",
            "createdAt": date(issue.created_at), "updatedAt": date(issue.updated_at),
            "permittedStatus": self.guesses.permitted_status_told.then(|| self.permitted(&issue.status)),
            "statusHistory": history, "originalIssueIdFromTool": issue.tool_id,
            "branch": issue.branch.as_ref().map(|name| json!({"__typename": "Branch", "name": name})),
        })
    }
}

fn asset_node(asset: &Asset) -> Value {
    json!({
        "__typename": "Asset", "id": asset.id.to_string(), "name": asset.name, "integrations": asset.integrations,
        "repositoryDetail": asset.repository.as_ref().map(|key| json!({
            "__typename": "RepositoryDetail", "repositoryKey": key,
        })),
    })
}

fn sync_payload(id: u64) -> Value {
    json!({
        "__typename": "ControlSyncStatusPayload", "success": true,
        "controlSyncStatus": {"__typename": "ControlSyncStatus", "id": id.to_string()},
    })
}

/// An address without scheme and `.git`.
fn key_of(url: &str) -> String {
    url.split("://").last().unwrap_or_default().trim_end_matches(".git").to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn date(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).expect("a time in this age").to_string()
}
