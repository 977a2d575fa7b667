//! Hides what may be a secret in a document that a person is shown. People put tokens into the properties of an analysis,
//! so none of those is shown, and nothing that is called or looks like a secret elsewhere either.

use serde_json::Value;

/// What stands in place of something that is hidden.
pub const HIDDEN: &str = "•••••• hidden";

/// Hides what may be a secret, wherever it stands.
pub fn mask(document: &mut Value) {
    match document {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "properties" {
                    hide_all(member);
                } else if is_secret_name(name) {
                    hide(member);
                } else {
                    mask(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::String(text) if is_secret(text) => HIDDEN.clone_into(text),
        _ => {}
    }
}

/// Hides every value; names stay, so that one sees what was sent.
fn hide_all(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(hide_all),
        Value::Array(items) => items.iter_mut().for_each(hide_all),
        other => hide(other),
    }
}

fn hide(value: &mut Value) {
    if !value.is_null() {
        *value = Value::String(HIDDEN.to_owned());
    }
}

/// Whether a member's name says that it is a secret. `key` alone does not: projects have one.
fn is_secret_name(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    WHOLE_NAMES.contains(&plain.as_str()) || NAMES.iter().any(|part| plain.contains(part))
}

/// Names that are parts of harmless ones, such as `author`.
const WHOLE_NAMES: [&str; 3] = ["auth", "pwd", "sig"];

const NAMES: [&str; 12] = [
    "jwt",
    "signature",
    "token",
    "secret",
    "passw",
    "passphrase",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
];

/// Whether a text looks like a secret: it begins as known tokens do, or is an address with a password in it.
fn is_secret(text: &str) -> bool {
    let text = text.trim();
    let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '_' | '-'));
    let is_scheme = |scheme: &str| text.to_ascii_lowercase().contains(scheme);
    words.any(|word| BEGINNINGS.iter().any(|begin| word.starts_with(begin)))
        || is_scheme("bearer ")
        || is_scheme("basic ")
        || has_password(text)
        || has_secret_query(text)
}

/// Whether an address has a parameter that is called like a secret.
fn has_secret_query(text: &str) -> bool {
    let Some((_, query)) = text.split_once("://").and_then(|(_, rest)| rest.split_once('?')) else { return false };
    query.split(['&', '#']).filter_map(|pair| pair.split_once('=')).any(|(name, _)| is_secret_name(name))
}

/// Tokens of Sonar, GitHub, GitLab, Slack, AWS, this box; signed tokens, keys, and what an HTTP header carries.
const BEGINNINGS: [&str; 20] = [
    "squ_",
    "sqp_",
    "sqa_",
    "sqs_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "AKIA",
    "ASIA",
    "hyd_",
    "whsec_",
    "eyJ",
    "-----BEGIN",
];

/// The address of a proxy with what stands for a name and a password in the place of them. One without a scheme is taken,
/// too.
pub fn without_password(url: &str) -> String {
    let begin = url.find("://").map_or(0, |scheme| scheme + 3);
    match url.rfind('@') {
        Some(at) if at >= begin => format!("{}***{}", &url[..begin], &url[at..]),
        _ => url.to_owned(),
    }
}

/// Whether the address of a proxy holds a name or a password.
pub fn has_login(url: &str) -> bool {
    url.rfind('@').is_some_and(|at| url.find("://").is_none_or(|scheme| at > scheme))
}

fn has_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':') || user.len() >= 16)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proxy_is_shown_without_its_login() {
        for (given, shown) in [
            ("http://box:hunter2@proxy:3128", "http://***@proxy:3128"),
            ("box:hun@ter2@proxy:3128", "***@proxy:3128"),
            ("http://@proxy", "http://***@proxy"),
        ] {
            assert_eq!((without_password(given).as_str(), has_login(given)), (shown, true));
        }
        for plain in ["http://proxy:3128", "proxy:3128", ""] {
            assert_eq!((without_password(plain).as_str(), has_login(plain)), (plain, false));
        }
    }

    #[test]
    fn properties_and_what_looks_like_a_secret_are_hidden_and_the_rest_is_shown() {
        let mut document = json!({
            "serverUrl": "https://sonarcloud.io",
            "project": { "key": "shop", "name": "Web shop", "url": "https://u:p@git.example/shop" },
            "branch": { "name": "main", "isMain": true },
            "properties": { "sonar.analysis.ci": "hunter2", "deep": { "n": 7, "list": ["x"], "none": null } },
            "apiKey": "k", "X-Auth-Token": ["t"], "clientSecret": null,
            "notes": ["squ_0123456789", "header: bearer abc", "plain", "see eyJhbGciOi.eyJ.x", "key=ghp_0123"],
            "links": ["https://ci.example/x?token=abc", "https://ci.example/x?id=7&url=y"],
        });
        mask(&mut document);
        assert_eq!(
            document,
            json!({
                "serverUrl": "https://sonarcloud.io",
                "project": { "key": "shop", "name": "Web shop", "url": HIDDEN },
                "branch": { "name": "main", "isMain": true },
                "properties": { "sonar.analysis.ci": HIDDEN, "deep": { "n": HIDDEN, "list": [HIDDEN], "none": null } },
                "apiKey": HIDDEN, "X-Auth-Token": HIDDEN, "clientSecret": null,
                "notes": [HIDDEN, HIDDEN, "plain", HIDDEN, HIDDEN],
                "links": [HIDDEN, "https://ci.example/x?id=7&url=y"],
            })
        );
    }

    #[test]
    fn names_of_ordinary_members_are_no_secrets() {
        for name in ["key", "taskId", "revision", "qualityGate", "errorThreshold", "monkey"] {
            assert!(!is_secret_name(name), "{name}");
        }
        for text in ["https://sonarcloud.io/dashboard?id=a@b", "main", "author@example.com", "2026-11-19T10:00:00+0000"]
        {
            assert!(!is_secret(text), "{text}");
        }
    }
}
