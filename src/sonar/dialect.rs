//! Which words a Sonar understands. Cloud and the Servers of the last years call the same things by different
//! parameters; what is asked for here is the same everywhere: all security findings of a scope that are not closed.

use std::fmt;

use minicbor::{Decode, Encode};

use crate::domain::crawl::{Ask, Facet, Lists, Slice};
use crate::domain::delivery::ScopeRef;
use crate::domain::finding::{Kind, Observed};
use crate::domain::ids::{IssueKey, OrganizationKey, ProjectKey, ScopeKind};
use crate::domain::limits::SONAR_PAGE_ROWS;
use crate::domain::time::Timestamp;

/// A query: names and values, not yet encoded.
pub type Query = Vec<(&'static str, String)>;

/// A Server's version as far as it matters: `10.6`, `2026.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Version {
    /// The first number: 9, 10, then the year.
    #[n(0)]
    pub major: u32,
    /// The second number.
    #[n(1)]
    pub minor: u32,
}

impl Version {
    /// Two numbers.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads `10.6.0.92116`, `2026.3.0.1`, `9.9` or `25.1-SNAPSHOT`. The Community Build counts by two-digit years
    /// (`25.1` came out with Server 2025.1), which is read as the Server's number.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split(['.', '-']);
        let major: u32 = numbers.next()?.parse().ok()?;
        let minor: u32 = numbers.next()?.parse().ok()?;
        let community = (24..100).contains(&major);
        Some(Self { major: if community { 2000 + major } else { major }, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// In which of its two models a Server of 10.8 or later counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Mode {
    /// Multi-quality rule: impacts on software qualities.
    #[n(0)]
    MultiQuality,
    /// Standard experience: types and severities.
    #[n(1)]
    Standard,
}

/// How to ask one source. Kept with the source, so that it need not be asked for before each crawl.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Dialect {
    #[n(0)]
    server: Option<Server>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Server {
    #[n(0)]
    version: Version,
    #[n(1)]
    mode: Option<Mode>,
}

impl Dialect {
    /// SonarQube Cloud, which has no versions.
    pub const fn cloud() -> Self {
        Self { server: None }
    }

    /// A SonarQube Server.
    pub const fn server(version: Version, mode: Option<Mode>) -> Self {
        Self { server: Some(Server { version, mode }) }
    }

    /// In which model a Server counts, where it has two.
    pub fn mode(self) -> Option<Mode> {
        self.server.and_then(|server| server.mode)
    }

    /// Whether Servers of this version can be switched between two models.
    pub fn has_modes(version: Version) -> bool {
        version >= Version::new(10, 8)
    }

    /// What the lists are like.
    pub fn lists(self) -> Lists {
        let severities: &'static [&'static str] = match self.server {
            _ if !self.knows_impacts() => &["BLOCKER", "CRITICAL", "MAJOR", "MINOR", "INFO"],
            // The outer two came with 10.8.
            Some(Server { version, .. }) if version < Version::new(10, 8) => &["HIGH", "MEDIUM", "LOW"],
            _ => &["BLOCKER", "HIGH", "MEDIUM", "LOW", "INFO"],
        };
        Lists {
            total_capped: self.server.is_none(),
            hotspots: self.server.is_some(),
            severities,
            statuses: self.statuses(),
            resolutions: match self.server {
                Some(Server { version, .. }) if version < Version::new(9, 4) => &["FIXED", "SAFE"],
                _ => &["FIXED", "SAFE", "ACKNOWLEDGED"],
            },
        }
    }

    /// The words for issues that are not closed.
    fn statuses(self) -> &'static [&'static str] {
        if !self.knows_issue_statuses() {
            &["OPEN", "CONFIRMED", "REOPENED", "RESOLVED"]
        } else if self.knows_sandbox() {
            &["OPEN", "CONFIRMED", "ACCEPTED", "FALSE_POSITIVE", SANDBOX]
        } else {
            &["OPEN", "CONFIRMED", "ACCEPTED", "FALSE_POSITIVE"]
        }
    }

    /// A page of a slice of the whole crawl: security issues that are not closed, oldest first. There is no facet of
    /// `issueStatuses`.
    pub fn slice_page(
        self,
        organization: &OrganizationKey,
        project: &ProjectKey,
        scope: &ScopeRef,
        Ask { slice, page, facet, .. }: &Ask,
    ) -> Query {
        let mut query = self.scoped(organization, project, scope);
        query.push(self.security());
        let name = if self.knows_issue_statuses() { "issueStatuses" } else { "statuses" };
        query.push((name, slice.status.clone().unwrap_or_else(|| self.statuses().join(","))));
        if let Some(severity) = &slice.severity {
            let name = if self.knows_impacts() { "impactSeverities" } else { "severities" };
            query.push((name, severity.clone()));
        }
        query.extend(slice.from.map(|from| ("createdAfter", sonar_date(from))));
        query.extend(slice.before.map(|before| ("createdBefore", sonar_date(before))));
        query.extend(slice.rule.clone().map(|rule| ("rules", rule)));
        query.extend(slice.directory.clone().map(|directory| ("directories", directory)));
        if !slice.files.is_empty() {
            query.push(("files", slice.files.join(",")));
        }
        query.push(("s", "CREATION_DATE".to_owned()));
        query.push(("asc", "true".to_owned()));
        query.extend(facet.map(|facet| ("facets", facet.name().to_owned())));
        paged(query, *page)
    }

    /// Whether a value of the facet `statuses` is among what a slice asks for. The facet ignores the filter of its
    /// own name, which only old Servers are asked with, so CLOSED may be among its values, and others than the slice's.
    /// Newer ones count what they list, also under a word that is not known here.
    pub fn counts(self, slice: &Slice, status: &str) -> bool {
        match &slice.status {
            Some(asked) if !self.knows_issue_statuses() => asked == status,
            _ if self.knows_issue_statuses() => status != "CLOSED",
            _ => matches!(status, "OPEN" | "CONFIRMED" | "REOPENED" | "RESOLVED"),
        }
    }

    /// Whether the crawl's list of what is not closed asks for the state that this has: it names those that are known,
    /// so that a list without a finding in a newer one contradicts nothing.
    pub fn asks_for(self, finding: &Observed) -> bool {
        let words = &finding.sonar;
        match (finding.kind, words.issue_status.as_deref(), words.status.as_deref()) {
            (Kind::Hotspot, ..) | (_, None, None) => true,
            (_, Some(word), _) if self.knows_issue_statuses() => {
                matches!(word, "OPEN" | "CONFIRMED" | "ACCEPTED" | "FALSE_POSITIVE" | SANDBOX)
            }
            (_, _, Some(word)) => matches!(word, "OPEN" | "CONFIRMED" | "REOPENED" | "RESOLVED" | SANDBOX),
            (_, Some(_), None) => true,
        }
    }

    /// A page of all security issues of a scope, closed ones too, those first that Sonar touched last; with the first
    /// page come the counts per status.
    pub fn recent_page(
        self,
        organization: &OrganizationKey,
        project: &ProjectKey,
        scope: &ScopeRef,
        page: u32,
    ) -> Query {
        let mut query = self.scoped(organization, project, scope);
        query.push(self.security());
        query.push(("s", "UPDATE_DATE".to_owned()));
        query.push(("asc", "false".to_owned()));
        if page == 1 {
            query.push(("facets", Facet::Status.name().to_owned()));
        }
        paged(query, page)
    }

    /// What makes an issue a security issue.
    fn security(self) -> (&'static str, String) {
        if self.knows_impacts() {
            ("impactSoftwareQualities", "SECURITY".to_owned())
        } else {
            ("types", "VULNERABILITY".to_owned())
        }
    }

    /// Whether the crawl's list would hold this, if it is not closed: the same question, asked of one finding.
    pub fn lists_it(self, finding: &Observed) -> bool {
        match finding.kind {
            Kind::Hotspot => true,
            Kind::Vulnerability if self.knows_impacts() => {
                finding.sonar.impacts.iter().any(|impact| impact.software_quality == "SECURITY")
            }
            Kind::Vulnerability => finding.sonar.r#type.as_deref() == Some("VULNERABILITY"),
        }
    }

    /// These issues, whatever has become of them.
    pub fn by_key(
        self,
        organization: &OrganizationKey,
        project: &ProjectKey,
        scope: &ScopeRef,
        keys: &[IssueKey],
        page: u32,
    ) -> Query {
        let mut query = self.scoped(organization, project, scope);
        let keys: Vec<&str> = keys.iter().map(IssueKey::as_str).collect();
        query.push(("issues", keys.join(",")));
        paged(query, page)
    }

    /// These issues in whichever project they are.
    pub fn anywhere(self, organization: &OrganizationKey, keys: &[IssueKey]) -> Query {
        let keys: Vec<&str> = keys.iter().map(IssueKey::as_str).collect();
        let mut query = vec![("issues", keys.join(","))];
        if self.server.is_none() {
            query.push(("organization", organization.to_string()));
        }
        paged(query, 1)
    }

    /// A page of a slice of the scope's hotspots; Sonar lists none that are closed.
    pub fn hotspots_page(self, project: &ProjectKey, scope: &ScopeRef, Ask { slice, page, .. }: &Ask) -> Query {
        let name = if self.is_server_from(Version::new(10, 2)) { "project" } else { "projectKey" };
        let mut query = vec![(name, project.to_string())];
        query.extend(scope_parameter(scope));
        query.extend(slice.status.clone().map(|status| ("status", status)));
        query.extend(slice.resolution.clone().map(|resolution| ("resolution", resolution)));
        if !slice.files.is_empty() {
            query.push(("files", slice.files.join(",")));
        }
        paged(query, *page)
    }

    fn scoped(self, organization: &OrganizationKey, project: &ProjectKey, scope: &ScopeRef) -> Query {
        let name = if self.is_server_from(Version::new(10, 2)) { "components" } else { "componentKeys" };
        let mut query = vec![(name, project.to_string())];
        if self.server.is_none() {
            query.push(("organization", organization.to_string()));
        }
        query.extend(scope_parameter(scope));
        query
    }

    fn knows_impacts(self) -> bool {
        match self.server {
            None => true,
            Some(Server { version, mode }) => {
                version >= Version::new(10, 2) && !(Self::has_modes(version) && mode == Some(Mode::Standard))
            }
        }
    }

    fn knows_issue_statuses(self) -> bool {
        self.server.is_none() || self.is_server_from(Version::new(10, 4))
    }

    fn knows_sandbox(self) -> bool {
        self.server.is_none() || self.is_server_from(Version::new(2025, 1))
    }

    fn is_server_from(self, version: Version) -> bool {
        self.server.is_some_and(|server| server.version >= version)
    }
}

/// A state that newer versions know; see the client, which does without where it is not known.
pub(super) const SANDBOX: &str = "IN_SANDBOX";

/// As Sonar reads and writes dates, in UTC, to the second.
fn sonar_date(time: Timestamp) -> String {
    time.to_string().replace('Z', "+0000")
}

/// Without either parameter Sonar takes the main branch.
fn scope_parameter(scope: &ScopeRef) -> Option<(&'static str, String)> {
    match scope {
        ScopeRef::Main => None,
        ScopeRef::Named { kind: ScopeKind::Branch, name } => Some(("branch", name.to_string())),
        ScopeRef::Named { kind: ScopeKind::PullRequest, name } => Some(("pullRequest", name.to_string())),
    }
}

fn paged(mut query: Query, page: u32) -> Query {
    query.push(("ps", SONAR_PAGE_ROWS.to_string()));
    query.push(("p", page.to_string()));
    query
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::domain::crawl::List;
    use crate::domain::ids::ScopeName;

    fn ask(list: List, slice: Slice, page: u32) -> Ask {
        Ask { list, slice, page, facet: (page == 1).then_some(Facet::Status) }
    }

    fn crawl(dialect: Dialect, scope: &ScopeRef, page: u32) -> String {
        sliced(dialect, scope, Slice::default(), page)
    }

    fn sliced(dialect: Dialect, scope: &ScopeRef, slice: Slice, page: u32) -> String {
        let organization = OrganizationKey::parse("acme").unwrap();
        let project = ProjectKey::parse("shop").unwrap();
        text(&dialect.slice_page(&organization, &project, scope, &ask(List::Issues, slice, page)))
    }

    fn text(query: &Query) -> String {
        query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }

    fn server(version: &str, mode: Option<Mode>) -> Dialect {
        Dialect::server(Version::parse(version).unwrap(), mode)
    }

    #[test]
    fn versions_are_read_as_servers_print_them() {
        assert_eq!(Version::parse("10.6.0.92116"), Some(Version::new(10, 6)));
        assert_eq!(Version::parse("2026.3.0.1\n"), Some(Version::new(2026, 3)));
        assert_eq!(Version::parse("25.1.0.102122"), Some(Version::new(2025, 1)));
        assert_eq!(Version::parse("10.8-SNAPSHOT"), Some(Version::new(10, 8)));
        assert!(Version::new(9, 9) < Version::new(10, 0) && Version::new(10, 8) < Version::new(2025, 1));
        for bad in ["", "10", "ten.six", "<html>", "10."] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn cloud_is_asked_by_impact_and_named_its_organization() {
        assert_eq!(
            crawl(Dialect::cloud(), &ScopeRef::Main, 1),
            "componentKeys=shop&organization=acme&impactSoftwareQualities=SECURITY\
             &issueStatuses=OPEN,CONFIRMED,ACCEPTED,FALSE_POSITIVE,IN_SANDBOX&s=CREATION_DATE&asc=true\
             &facets=statuses&ps=500&p=1"
        );
    }

    #[test]
    fn an_old_server_is_asked_by_type_and_status() {
        let branch = ScopeRef::Named { kind: ScopeKind::Branch, name: ScopeName::parse("release/1").unwrap() };
        assert_eq!(
            crawl(server("9.9.4.1", None), &branch, 2),
            "componentKeys=shop&branch=release/1&types=VULNERABILITY\
             &statuses=OPEN,CONFIRMED,REOPENED,RESOLVED&s=CREATION_DATE&asc=true&ps=500&p=2"
        );
    }

    #[test]
    fn servers_learn_words_with_10_2_10_4_and_2025_1() {
        let ask = |version: &str, mode| crawl(server(version, mode), &ScopeRef::Main, 2);
        assert!(ask("10.1.0.1", None).starts_with("componentKeys=shop&types=VULNERABILITY&statuses="));
        assert!(ask("10.2.0.1", None).starts_with("components=shop&impactSoftwareQualities=SECURITY&statuses="));
        assert!(ask("10.3.0.1", None).contains("&statuses=OPEN,"));
        assert!(ask("10.4.0.1", None).contains("&issueStatuses=OPEN,CONFIRMED,ACCEPTED,FALSE_POSITIVE&"));
        assert!(ask("10.8.0.1", Some(Mode::MultiQuality)).contains("impactSoftwareQualities=SECURITY"));
        assert!(ask("2025.1.0.1", None).contains("FALSE_POSITIVE,IN_SANDBOX&"));
    }

    #[test]
    fn a_server_in_standard_mode_is_asked_by_type() {
        let query = crawl(server("2026.3.0.1", Some(Mode::Standard)), &ScopeRef::Main, 1);
        assert!(query.starts_with("components=shop&types=VULNERABILITY&issueStatuses="), "{query}");
        assert!(!query.contains("impact"), "{query}");
    }

    #[test]
    fn a_question_by_key_filters_by_nothing_else() {
        let keys = [IssueKey::parse("A1").unwrap(), IssueKey::parse("A2").unwrap()];
        let pull_request = ScopeRef::Named { kind: ScopeKind::PullRequest, name: ScopeName::parse("7").unwrap() };
        let query = server("10.6.0.1", None).by_key(
            &OrganizationKey::parse("s").unwrap(),
            &ProjectKey::parse("shop").unwrap(),
            &pull_request,
            &keys,
            1,
        );
        assert_eq!(text(&query), "components=shop&pullRequest=7&issues=A1,A2&ps=500&p=1");
    }

    #[test]
    fn hotspots_name_the_project_as_the_version_does() {
        let project = ProjectKey::parse("shop").unwrap();
        let ask = |dialect: Dialect| {
            text(&dialect.hotspots_page(&project, &ScopeRef::Main, &ask(List::Hotspots, Slice::default(), 3)))
        };
        assert_eq!(ask(server("9.9.0.1", None)), "projectKey=shop&ps=500&p=3");
        assert_eq!(ask(server("10.2.0.1", None)), "project=shop&ps=500&p=3");
    }

    #[test]
    fn a_dialect_can_be_kept() {
        for dialect in [Dialect::cloud(), server("9.9.0.1", None), server("10.8.0.1", Some(Mode::Standard))] {
            let bytes = minicbor::to_vec(dialect).unwrap();
            assert_eq!(minicbor::decode::<Dialect>(&bytes).unwrap(), dialect);
        }
    }

    #[test]
    fn cloud_caps_totals_and_has_no_hotspots() {
        let lists = Dialect::cloud().lists();
        assert!(lists.total_capped && !lists.hotspots);
        let lists = server("10.6.0.1", None).lists();
        assert!(!lists.total_capped && lists.hotspots);
        assert_eq!(lists.severities, ["HIGH", "MEDIUM", "LOW"], "10.6 knows three");
        assert_eq!(server("9.9.0.1", None).lists().severities[1], "CRITICAL");
    }

    #[test]
    fn a_slice_is_asked_for_in_the_words_of_the_version() {
        let slice = Slice {
            from: Some(Timestamp::parse("2024-06-27T05:29:54Z").unwrap()),
            before: Some(Timestamp::parse("2024-06-27T05:29:55Z").unwrap()),
            severity: Some("HIGH".to_owned()),
            status: Some("OPEN".to_owned()),
            rule: Some("java:S1".to_owned()),
            directory: Some("src".to_owned()),
            files: vec!["src/a.java".to_owned()],
            resolution: None,
        };
        assert_eq!(
            sliced(Dialect::cloud(), &ScopeRef::Main, slice.clone(), 2),
            "componentKeys=shop&organization=acme&impactSoftwareQualities=SECURITY&issueStatuses=OPEN\
             &impactSeverities=HIGH&createdAfter=2024-06-27T05:29:54+0000&createdBefore=2024-06-27T05:29:55+0000\
             &rules=java:S1&directories=src&files=src/a.java&s=CREATION_DATE&asc=true&ps=500&p=2"
        );
        let old = sliced(server("9.9.0.1", None), &ScopeRef::Main, slice.clone(), 2);
        assert!(old.contains("&statuses=OPEN&severities=HIGH&"), "{old}");
        assert!(server("9.9.0.1", None).counts(&slice, "OPEN") && !server("9.9.0.1", None).counts(&slice, "RESOLVED"));
        assert!(Dialect::cloud().counts(&slice, "RESOLVED") && !Dialect::cloud().counts(&slice, "CLOSED"));
    }

    #[test]
    fn what_was_touched_last_is_asked_for_in_every_state() {
        let query = Dialect::cloud().recent_page(
            &OrganizationKey::parse("acme").unwrap(),
            &ProjectKey::parse("shop").unwrap(),
            &ScopeRef::Main,
            1,
        );
        assert_eq!(
            text(&query),
            "componentKeys=shop&organization=acme&impactSoftwareQualities=SECURITY&s=UPDATE_DATE&asc=false\
             &facets=statuses&ps=500&p=1"
        );
    }
}
