//! What holds a secret holds it in a type that prints nothing and wipes its memory: by the source.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

/// Members whose name says that they hold a secret, and that are plain text or bytes all the same, each with the reason.
const PLAIN: &[(&str, &str)] = &[
    ("src/store/access.rs User.password", "a hash (Argon2id); `Debug` of the user leaves it out"),
    ("src/admin/metrics.rs ByCode.code", "the code of a condition"),
    ("src/admin/shapes.rs Condition.code", "the code of a condition"),
    ("src/admin/shapes/fleet.rs SiteCondition.code", "the code of a condition"),
    ("src/domain/fleet/said.rs ConditionSaid.code", "the code of a condition"),
    ("src/admin/shapes.rs Source.proxy", "an answer: without name and password"),
    ("src/admin/shapes/destinations.rs Destination.proxy", "an answer: without name and password"),
    ("src/admin/shapes/certificate.rs WayTold.code", "the word of a way"),
    ("src/domain/notice.rs Told.code", "the code of a condition"),
    ("src/platform/conviso/wire.rs Failure.code", "the code of an error"),
    ("src/sonar/client/hooks.rs NewWebhook.secret", "borrowed, and without `Debug`"),
];

/// What names a secret; `key` alone is most often the name of a project or an issue.
const NAMES: [&str; 9] = ["token", "secret", "password", "passphrase", "passwd", "cookie", "code", "wrapping", "proxy"];

/// Types that show what they hold to whoever prints them.
const SHOWN: [&str; 6] = ["String", "Option<String>", "Vec<u8>", "Option<Vec<u8>>", "&'a str", "Box<str>"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `STRUCT.MEMBER` of each member that names a secret and is plain.
fn plain_members(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside: Option<String> = None;
    for line in text.lines() {
        // Tests plant secrets on purpose.
        if line.starts_with("#[cfg(test)]") {
            break;
        }
        let words = line.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub ");
        let words = words.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map_or(words, |(_, rest)| rest);
        if let Some(rest) = words.strip_prefix("struct ").or_else(|| words.strip_prefix("enum ")) {
            let name = rest.split(|character: char| !character.is_alphanumeric() && character != '_').next();
            inside = name.map(str::to_owned).filter(|_| rest.ends_with('{'));
        } else if line.trim_end() == "}" {
            inside = None;
        } else if let (Some(owner), Some((name, kind))) = (&inside, words.trim_end_matches(',').split_once(": "))
            && (NAMES.contains(&name) || name.ends_with("_key") && name != "rule_key")
            && SHOWN.contains(&kind)
        {
            found.push(format!("{owner}.{name}"));
        }
    }
    found
}

#[test]
fn no_struct_holds_a_secret_as_plain_text() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        found.extend(plain_members(&text).into_iter().map(|member| format!("{name} {member}")));
    }
    let odd: Vec<_> = found.iter().filter(|member| PLAIN.iter().all(|(known, _)| known != member)).collect();
    assert!(odd.is_empty(), "hold them as `SecretText` or `SecretBytes`: {odd:#?}");
    let gone: Vec<_> = PLAIN.iter().filter(|(known, _)| found.iter().all(|member| member != known)).collect();
    assert!(gone.is_empty(), "these are not there any more: {gone:?}");
}

#[test]
fn a_plain_member_is_seen() {
    let text = "pub struct One {\n    /// It.\n    pub token: String,\n    pub name: String,\n    secret: Option<String>,\n}\n\
        fn password(token: String) {\n}\npub(super) struct Two {\n    pub(super) password: Vec<u8>,\n}\n#[cfg(test)]\n\
        struct Three {\n    token: String,\n}\n";
    assert_eq!(plain_members(text), ["One.token", "One.secret", "Two.password"]);
}
