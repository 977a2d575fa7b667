//! The rules the simulated analysers know: enough security rules to spread issues over, a few that are not about
//! security, and a few that raise hotspots.

use std::fmt::Write as _;

use super::words::{IssueType, Probability, Severity};

/// One rule. Its weakness numbers appear, as in the original, only as links inside the description's HTML.
#[derive(Clone, Debug)]
pub struct Rule {
    pub key: String,
    pub name: String,
    pub raises: Raises,
    pub severity: Severity,
    pub cwe: Vec<u16>,
    pub category: String,
    pub tags: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raises {
    Issues(IssueType),
    Hotspots(Probability),
}

impl Rule {
    pub fn repository(&self) -> &str {
        self.key.split_once(':').map_or("external", |(repository, _)| repository)
    }

    pub fn language(&self) -> (&'static str, &'static str) {
        match self.repository() {
            "java" => ("java", "Java"),
            "python" => ("py", "Python"),
            "javascript" => ("js", "JavaScript"),
            _ => ("", ""),
        }
    }

    /// `type` as the rules endpoints print it.
    pub fn type_word(&self) -> &'static str {
        match self.raises {
            Raises::Issues(issue_type) => issue_type.word(),
            Raises::Hotspots(_) => "SECURITY_HOTSPOT",
        }
    }

    pub fn description_html(&self) -> String {
        format!("<p>{} is a weakness of this code.</p>\n<h2>Noncompliant code example</h2><pre>a = b</pre>", self.name)
    }

    pub fn resources_html(&self) -> String {
        let mut html = String::from("<h2>See</h2>\n<ul>\n");
        for number in &self.cwe {
            writeln!(
                html,
                "<li> <a href=\"https://cwe.mitre.org/data/definitions/{number}\">CWE-{number} - {}</a> </li>",
                self.name
            )
            .expect("writing to a string cannot fail");
        }
        html.push_str("</ul>");
        html
    }

    /// A rule nobody described: what an imported finding or an unknown analyser brings along.
    pub fn unknown(key: &str) -> Rule {
        Rule {
            key: key.to_owned(),
            name: format!("Rule {key}"),
            raises: Raises::Issues(IssueType::Vulnerability),
            severity: Severity::Major,
            cwe: Vec::new(),
            category: "others".to_owned(),
            tags: Vec::new(),
        }
    }
}

/// Every rule known from the start, security rules first.
pub fn all() -> Vec<Rule> {
    let security = REPOSITORIES.iter().flat_map(|repository| {
        SECURITY.iter().map(move |&(id, name, severity, cwe, category)| Rule {
            key: format!("{repository}:{id}"),
            name: name.to_owned(),
            raises: Raises::Issues(IssueType::Vulnerability),
            severity,
            cwe: cwe.to_vec(),
            category: category.to_owned(),
            tags: vec!["cwe".to_owned()],
        })
    });
    let smells = SMELLS.iter().map(|&(key, name)| Rule {
        key: key.to_owned(),
        name: name.to_owned(),
        raises: Raises::Issues(IssueType::CodeSmell),
        severity: Severity::Major,
        cwe: Vec::new(),
        category: "others".to_owned(),
        tags: vec!["convention".to_owned()],
    });
    let hotspots = HOTSPOTS.iter().map(|&(key, name, probability, cwe, category)| Rule {
        key: key.to_owned(),
        name: name.to_owned(),
        raises: Raises::Hotspots(probability),
        severity: Severity::Major,
        cwe: cwe.to_vec(),
        category: category.to_owned(),
        tags: vec!["cwe".to_owned()],
    });
    security.chain(smells).chain(hotspots).collect()
}

/// How many security rules there are; `security_rule` counts from zero.
pub const SECURITY_RULES: usize = SECURITY.len() * REPOSITORIES.len();

/// The key and severity of a security rule by number, without building the whole table.
pub fn security_rule(number: usize) -> (String, Severity, &'static str) {
    let (id, name, severity, ..) = SECURITY[number % SECURITY.len()];
    let repository = REPOSITORIES[number / SECURITY.len() % REPOSITORIES.len()];
    (format!("{repository}:{id}"), severity, name)
}

pub fn smell_rule(number: usize) -> (&'static str, &'static str) {
    SMELLS[number % SMELLS.len()]
}

pub fn hotspot_rule(number: usize) -> (&'static str, &'static str, Probability, &'static str) {
    let (key, name, probability, _, category) = HOTSPOTS[number % HOTSPOTS.len()];
    (key, name, probability, category)
}

/// The severity and name of a known rule, by its key.
pub fn known(key: &str) -> Option<(Severity, &'static str)> {
    let (_, id) = key.split_once(':')?;
    let security = SECURITY.iter().find(|one| one.0 == id).map(|one| (one.2, one.1));
    security.or_else(|| SMELLS.iter().find(|one| one.0 == key).map(|one| (Severity::Major, one.1)))
}

const REPOSITORIES: [&str; 3] = ["java", "python", "javascript"];

type SecurityRow = (&'static str, &'static str, Severity, &'static [u16], &'static str);

const SECURITY: [SecurityRow; 20] = [
    (
        "S3649",
        "Database queries should not be vulnerable to injection attacks",
        Severity::Blocker,
        &[89, 20],
        "sql-injection",
    ),
    (
        "S2076",
        "OS commands should not be vulnerable to command injection attacks",
        Severity::Blocker,
        &[78, 20],
        "command-injection",
    ),
    (
        "S2083",
        "I/O function calls should not be vulnerable to path injection attacks",
        Severity::Blocker,
        &[22, 99],
        "path-traversal-injection",
    ),
    ("S5131", "Endpoints should not be vulnerable to reflected XSS attacks", Severity::Blocker, &[79], "xss"),
    (
        "S5135",
        "Deserialization should not be vulnerable to injection attacks",
        Severity::Blocker,
        &[502],
        "object-injection",
    ),
    ("S5144", "Server-side requests should not be vulnerable to forging attacks", Severity::Major, &[918], "ssrf"),
    ("S5145", "Logging should not be vulnerable to injection attacks", Severity::Minor, &[117, 20], "log-injection"),
    (
        "S5146",
        "HTTP request redirections should not be open to forging attacks",
        Severity::Blocker,
        &[601],
        "open-redirect",
    ),
    ("S2755", "XML parsers should not be vulnerable to XXE attacks", Severity::Blocker, &[611, 827], "xxe"),
    (
        "S5334",
        "Dynamic code execution should not be vulnerable to injection attacks",
        Severity::Blocker,
        &[94, 95],
        "rce",
    ),
    (
        "S2631",
        "Regular expressions should not be vulnerable to Denial of Service attacks",
        Severity::Critical,
        &[1333, 400],
        "dos",
    ),
    ("S4423", "Weak SSL/TLS protocols should not be used", Severity::Critical, &[326, 327], "weak-cryptography"),
    ("S4426", "Cryptographic keys should be robust", Severity::Critical, &[326], "weak-cryptography"),
    (
        "S5542",
        "Encryption algorithms should be used with secure mode and padding scheme",
        Severity::Critical,
        &[327, 780],
        "weak-cryptography",
    ),
    (
        "S4830",
        "Server certificates should be verified during SSL/TLS connections",
        Severity::Critical,
        &[295],
        "weak-cryptography",
    ),
    (
        "S5527",
        "Server hostnames should be verified during SSL/TLS connections",
        Severity::Critical,
        &[297],
        "weak-cryptography",
    ),
    ("S5659", "JWT should be signed and verified", Severity::Critical, &[347], "weak-cryptography"),
    ("S6437", "Credentials should not be hard-coded", Severity::Blocker, &[798, 259], "auth"),
    ("S2115", "A secure password should be used when connecting to a database", Severity::Blocker, &[521], "auth"),
    (
        "S5443",
        "Using publicly writable directories is security-sensitive",
        Severity::Info,
        &[377, 379],
        "file-manipulation",
    ),
];

const SMELLS: [(&str, &str); 4] = [
    ("java:S1144", "Unused \"private\" methods should be removed"),
    ("java:S3776", "Cognitive Complexity of methods should not be too high"),
    ("python:S1192", "String literals should not be duplicated"),
    ("javascript:S1481", "Unused local variables and functions should be removed"),
];

type HotspotRow = (&'static str, &'static str, Probability, &'static [u16], &'static str);

const HOTSPOTS: [HotspotRow; 4] = [
    ("java:S4502", "Disabling CSRF protections is security-sensitive", Probability::High, &[352], "csrf"),
    (
        "java:S2245",
        "Using pseudorandom number generators is security-sensitive",
        Probability::Medium,
        &[338],
        "weak-cryptography",
    ),
    ("java:S5332", "Using clear-text protocols is security-sensitive", Probability::Low, &[319], "encrypt-data"),
    (
        "java:S4790",
        "Using weak hashing algorithms is security-sensitive",
        Probability::Low,
        &[1240],
        "weak-cryptography",
    ),
];
