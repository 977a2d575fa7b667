//! The description of the API that is served is the one that the code makes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde_json::Value;

/// With this set, the file is written instead of compared.
const WRITE: &str = "HYDROPHONE_WRITE_OPENAPI";

#[test]
fn what_is_served_is_what_the_code_makes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/openapi.json");
    let made = serde_json::to_value(hydrophone::admin::document()).expect("a document can be written");
    if env::var_os(WRITE).is_some() {
        fs::write(&file, laid_out(&made)).expect("the file can be written");
        return;
    }
    let served = fs::read_to_string(&file).expect("the file can be read");
    let served: Value = serde_json::from_str(&served).expect("what is served is JSON");
    for part in ["paths", "components"] {
        assert_eq!(names(&served[part]), names(&made[part]), "run: {WRITE}=1 cargo test --test openapi");
    }
    assert!(
        served == made,
        "the API is another than src/admin/openapi.json says; run: {WRITE}=1 cargo test --test openapi"
    );
}

fn names(of: &Value) -> BTreeSet<&String> {
    of.as_object().expect("an object").keys().collect()
}

/// A line for each path and each schema: small, and differences can be read.
fn laid_out(document: &Value) -> String {
    let mut text = String::new();
    members(document, 0, &mut text);
    text + "\n"
}

/// How deep objects are laid out: the document, its parts, and the schemas in one of them.
const DEEP: usize = 3;

fn members(value: &Value, depth: usize, text: &mut String) {
    let Some(members_of) = value.as_object().filter(|members| depth < DEEP && !members.is_empty()) else {
        write!(text, "{value}").expect("memory takes it");
        return;
    };
    text.push_str("{\n");
    for (nth, (name, value)) in members_of.iter().enumerate() {
        let comma = if nth + 1 < members_of.len() { "," } else { "" };
        let mut inner = String::new();
        members(value, depth + 1, &mut inner);
        let name = Value::from(name.as_str());
        writeln!(text, "{name}:{inner}{comma}").expect("memory takes it");
    }
    text.push('}');
}
