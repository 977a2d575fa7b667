//! `PATCH` and `close` of one finding. A key that is unknown or read-only is passed over; a value that is wrong is not.

use serde_json::{Value, json};

use super::answer::{Answer, Outcome, internal_error, ok, refused};
use super::api::finding_shown;
use super::finding::{Finding, SEVERITIES, Status};
use super::model::{Model, User};
use super::text::{TITLE_CHARACTERS_MAX, shown, stored_title};

pub(super) fn patch(model: &mut Model, user: &User, id: u64, body: &Value) -> Outcome {
    let mut wanted = model.findings[&id].clone();
    fill(&mut wanted, body)?;
    validate(model, id, body)?;
    // Acceptance is settled first, with a save and a note of its own.
    let accepted = model.findings[&id].status.risk_accepted;
    if body["risk_accepted"] == true && !accepted {
        model.accept_simply(id, user.id);
    } else if body["risk_accepted"] == false && accepted {
        model.unaccept(id, user.id);
    }
    model.save(id, user.id, |finding| {
        let (former, notes) = (finding.status.clone(), std::mem::take(&mut finding.notes));
        let (status, last_status_update) = (given(&former, body), finding.last_status_update);
        *finding = Finding { status, last_status_update, notes, ..wanted };
    });
    Ok(ok(&finding_shown(model, id)))
}

/// What the flags of the body make of a status.
fn given(former: &Status, body: &Value) -> Status {
    let flag = |name: &str, former: bool| body[name].as_bool().unwrap_or(former);
    Status {
        active: flag("active", former.active),
        verified: flag("verified", former.verified),
        false_p: flag("false_p", former.false_p),
        out_of_scope: flag("out_of_scope", former.out_of_scope),
        risk_accepted: flag("risk_accepted", former.risk_accepted),
        is_mitigated: flag("is_mitigated", former.is_mitigated),
        ..former.clone()
    }
}

/// Writes the plain fields over. The hash stays what it was at birth.
fn fill(finding: &mut Finding, body: &Value) -> Result<(), Answer> {
    for name in FLAGS {
        if body.get(name).is_some_and(|value| !value.is_boolean()) {
            return Err(refused(name, "Must be a valid boolean."));
        }
    }
    for name in ["mitigated", "mitigated_by"] {
        if body.get(name).is_some_and(|value| !value.is_null()) {
            return Err(refused(name, "Editing mitigated timestamp is disabled (EDITABLE_MITIGATED_DATA=false)"));
        }
    }
    if let Some(title) = text(body, "title", TITLE_CHARACTERS_MAX, false)? {
        finding.title = stored_title(&title.unwrap_or_default());
    }
    if let Some(description) = text(body, "description", usize::MAX, false)? {
        finding.description = description.unwrap_or_default();
    }
    if let Some(severity) = text(body, "severity", usize::MAX, false)? {
        let severity = severity.unwrap_or_default();
        if !SEVERITIES.contains(&severity.as_str()) {
            return Err(refused(
                "severity",
                "Severity must be one of the following: Info, Low, Medium, High, Critical",
            ));
        }
        finding.severity = severity;
    }
    for (name, characters_max, place) in [
        ("file_path", 4000, &mut finding.file_path),
        ("unique_id_from_tool", 500, &mut finding.unique_id),
        ("vuln_id_from_tool", 500, &mut finding.vuln_id),
        ("service", 200, &mut finding.service),
    ] {
        if let Some(value) = text(body, name, characters_max, true)? {
            *place = value;
        }
    }
    if let Some(line) = number(body, "line")? {
        finding.line = line;
    }
    if let Some(cwe) = number(body, "cwe")? {
        finding.cwe = cwe.unwrap_or(0);
    }
    if let Some(review) = body["under_review"].as_bool() {
        finding.under_review = review;
    }
    if let Some(date) = text(body, "date", usize::MAX, false)? {
        let date = date.unwrap_or_default();
        if date.parse::<jiff::civil::Date>().is_err() {
            let wrong = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.";
            return Err(refused("date", wrong));
        }
        finding.date = date;
    }
    if let Some(value) = body.get("tags") {
        finding.tags = tags(value)?;
    }
    for name in ["mitigation", "impact", "references", "steps_to_reproduce", "severity_justification"] {
        if let Some(value) = text(body, name, usize::MAX, true)? {
            finding.other.insert(name.to_owned(), json!(value));
        }
    }
    for name in body.as_object().into_iter().flatten().map(|(name, _)| name.as_str()) {
        if UNSIMULATED.contains(&name) {
            return Err(super::answer::unsimulated(&format!("a PATCH of '{name}'")));
        }
    }
    Ok(())
}

/// What goes together and what does not.
fn validate(model: &Model, id: u64, body: &Value) -> Result<(), Answer> {
    let finding = &model.findings[&id];
    let status = given(&finding.status, body);
    let duplicate = body["duplicate"].as_bool().unwrap_or(finding.duplicate);
    let refuse = |text: &str| Err(refused("non_field_errors", text));
    if (status.active || status.verified) && duplicate {
        return refuse("Duplicate findings cannot be verified or active");
    }
    if status.false_p && status.verified {
        return refuse("False positive findings cannot be verified.");
    }
    let newly = status.risk_accepted && !finding.status.risk_accepted;
    if newly && !model.product_of(finding.test).simple_risk_acceptance {
        return refuse("Simple risk acceptance is disabled for this product, use the UI to accept this finding.");
    }
    if status.active && status.risk_accepted {
        return refuse("Active findings cannot be risk accepted.");
    }
    Ok(())
}

/// Without `is_mitigated` it breaks. A date is passed over, and a second close moves the first one's.
pub(super) fn close(model: &mut Model, user: &User, id: u64, body: &Value) -> Outcome {
    let Some(is_mitigated) = body["is_mitigated"].as_bool() else { return Err(internal_error()) };
    let now = model.now();
    let flag = |name: &str| body[name].as_bool().unwrap_or(false);
    model.save(id, user.id, |finding| {
        (finding.status.is_mitigated, finding.status.active) = (is_mitigated, false);
        (finding.status.mitigated, finding.status.mitigated_by) = (Some(now), Some(user.id));
        (finding.status.false_p, finding.status.out_of_scope) = (flag("false_p"), flag("out_of_scope"));
        finding.duplicate = flag("duplicate");
        if let Some(note) = body["note"].as_str().filter(|note| !note.is_empty()) {
            finding.note(user.id, note);
        }
    });
    model.unaccept(id, user.id);
    let status = &model.findings[&id].status;
    Ok(ok(&json!({
        "is_mitigated": status.is_mitigated, "mitigated": status.mitigated.map(shown), "false_p": status.false_p,
        "out_of_scope": status.out_of_scope, "duplicate": flag("duplicate"), "mitigated_by": status.mitigated_by,
        "note_type": null,
    })))
}

/// Tags of a call: with blanks they are refused.
pub(super) fn tags(value: &Value) -> Result<Vec<String>, Answer> {
    let all = value.as_array().ok_or_else(|| refused("tags", "Expected a list of items."))?;
    let tag = |one: &Value| match one.as_str() {
        Some(tag) if !tag.contains([' ', ',', '"', '\'']) && !tag.is_empty() => Ok(tag.to_owned()),
        Some(tag) => Err(refused("tags", &format!("Invalid tag: {tag}. Tags should not contain spaces or quotes."))),
        None => Err(refused("tags", "Not a valid string.")),
    };
    all.iter().map(tag).collect()
}

/// None if the key is absent; the inner one is a null, where a null may be.
#[allow(clippy::option_option, reason = "absent and null are two things in a PATCH")]
fn text(body: &Value, name: &str, characters_max: usize, nullable: bool) -> Result<Option<Option<String>>, Answer> {
    match body.get(name) {
        None => Ok(None),
        Some(Value::Null) if nullable => Ok(Some(None)),
        Some(Value::Null) => Err(refused(name, "This field may not be null.")),
        Some(Value::String(text)) if text.is_empty() && !nullable => Err(refused(name, "This field may not be blank.")),
        Some(Value::String(text)) if text.contains('\0') => Err(refused(name, "Null characters are not allowed.")),
        Some(Value::String(text)) if text.chars().count() > characters_max => {
            Err(refused(name, &format!("Ensure this field has no more than {characters_max} characters.")))
        }
        Some(Value::String(text)) => Ok(Some(Some(text.clone()))),
        Some(_) => Err(refused(name, "Not a valid string.")),
    }
}

#[allow(clippy::option_option, reason = "absent and null are two things in a PATCH")]
fn number(body: &Value, name: &str) -> Result<Option<Option<i64>>, Answer> {
    match body.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(value) => {
            let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
            let number = number.ok_or_else(|| refused(name, "A valid integer is required."))?;
            if i32::try_from(number).is_err() {
                return Err(refused(name, "Ensure this value is less than or equal to 2147483647."));
            }
            Ok(Some(Some(number)))
        }
    }
}

const FLAGS: [&str; 8] =
    ["active", "verified", "false_p", "out_of_scope", "risk_accepted", "is_mitigated", "under_review", "duplicate"];
const UNSIMULATED: [&str; 6] = ["cwes", "vulnerability_ids", "found_by", "reporter", "duplicate", "endpoints"];
