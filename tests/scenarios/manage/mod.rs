//! What people manage on the page: destinations, projects, assets, deliveries, settings, users, by forms as a browser
//! without script sends them, over real TLS.

mod deliveries;
mod destinations;
mod keys;
mod projects;
mod upkeep;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::https::{Answer, ask};
use crate::support::sonar::{Issue, Mode, Sonar};
use crate::support::{connect, import};

/// Names that would be markup, end an attribute or turn the line around if they were not shown as text.
const HOSTILE: &str = "<script>alert(1)</script> \"'><img src=x> \u{202e}gnp.exe";

/// A gateway whose page is served, and a token of each role.
struct Managed {
    gateway: Gateway,
    page: String,
    admin: String,
    operator: String,
    viewer: String,
}

impl Managed {
    fn start() -> Self {
        let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
        let page = gateway.json(&["status"])["page"].as_str().expect("it is served").to_owned();
        let token = |role: &str| {
            gateway.json(&["token", "add", role, "--role", role])["secret"].as_str().expect("it is told").to_owned()
        };
        let (admin, operator, viewer) = (token("admin"), token("operator"), token("viewer"));
        Self { gateway, page, admin, operator, viewer }
    }

    /// One with a project of two findings, A and B.
    fn with_shop() -> (Sonar, Self) {
        let sonar = Sonar::start(Mode::Cloud);
        sonar.edit(|model| {
            model.add_project("acme", "shop", "Web shop");
            model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", 12).with_key("A"));
            model.add_issue("shop", "main", Issue::vulnerability("java:S2068", "src/b.java", 3).with_key("B"));
        });
        let managed = Self::start();
        connect(&managed.gateway, &sonar);
        import(&managed.gateway, "acme", &["shop"]);
        (sonar, managed)
    }

    fn get_as(&self, token: &str, path: &str) -> Answer {
        ask(&self.page, "GET", path, &[("Authorization", &format!("Bearer {token}"))], "")
    }

    fn get(&self, path: &str) -> Answer {
        self.get_as(&self.admin, path)
    }

    /// A page that is there.
    fn shown(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        no_markup_of_others(&answer.body);
        answer.body
    }

    fn post_as(&self, token: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        ask(&self.page, "POST", path, &headers, &pairs.join("&"))
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_as(&self.admin, path, fields)
    }

    /// A form that does something and leads to another page.
    fn led(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.post(path, fields);
        assert_eq!(answer.status, 303, "{path}: {}", answer.body);
        answer.header("location").expect("it leads somewhere").to_owned()
    }

    fn api(&self, path: &str) -> Value {
        let answer = self.get(&format!("/api/v1{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }
}

/// What somebody named is text on the page, wherever it stands.
fn no_markup_of_others(page: &str) {
    for markup in ["<script>alert", "<img src=x", "\"'><"] {
        assert!(!page.contains(markup), "{markup} in {page}");
    }
}

/// A page as one reads it: without tags, with single blanks.
fn text(page: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for letter in page.chars() {
        match letter {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                text.push(' ');
            }
            _ if !inside => text.push(letter),
            _ => {}
        }
    }
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The tag of the field of this name.
fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let at = page.find(&format!(" name=\"{name}\"")).unwrap_or_else(|| panic!("no field {name} in {page}"));
    let begin = page[..at].rfind('<').expect("a tag begins");
    let end = at + page[at..].find('>').expect("a tag ends");
    &page[begin..=end]
}
