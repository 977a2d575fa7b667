//! Filters and orders of `GET /findings/`. A name DefectDojo does not know is passed over, as it does; one it knows and this
//! simulation does not is answered with 501.

use std::cmp::Ordering;

use super::answer::{Answer, bad_choice, json_answer, unsimulated};
use super::finding::Finding;
use super::model::Model;
use super::reimport::parse_bool;

/// The findings that every filter keeps, in the order asked for.
pub(super) fn filtered<'m>(
    model: &'m Model,
    mut findings: Vec<&'m Finding>,
    query: &[(String, String)],
    sees_test: impl Fn(u64) -> bool,
) -> Result<Vec<&'m Finding>, Answer> {
    let mut orders = Vec::new();
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        let number = value.parse::<u64>().ok();
        let known = |exists: bool| number.filter(|_| exists).ok_or_else(|| bad_choice(name));
        let place = |finding: &Finding| model.test(finding.test).expect("a finding has a Test");
        let part = value.to_lowercase();
        let contains = |text: Option<&str>| text.is_some_and(|text| text.to_lowercase().contains(&part));
        match name.as_str() {
            "limit" | "offset" => {}
            "o" => orders = value.split(',').map(order).collect::<Result<_, _>>()?,
            "id" => findings.retain(|one| value.split(',').any(|id| id.parse() == Ok(one.id))),
            "test" => {
                let id = known(number.is_some_and(&sees_test))?;
                findings.retain(|one| one.test == id);
            }
            "test__engagement" => {
                let id = known(model.engagements.iter().any(|one| Some(one.id) == number))?;
                findings.retain(|one| place(one).engagement == id);
            }
            "test__engagement__product" => {
                let id = known(model.products.iter().any(|one| Some(one.id) == number))?;
                findings.retain(|one| model.product_of(one.test).id == id);
            }
            "test__test_type" => {
                let id = known(model.test_types.iter().any(|one| Some(one.id) == number))?;
                findings.retain(|one| place(one).test_type == id);
            }
            "title" => findings.retain(|one| contains(Some(&one.title))),
            "exact_title" => findings.retain(|one| one.title.to_lowercase() == part),
            "unique_id_from_tool" => findings.retain(|one| contains(one.unique_id.as_deref())),
            "vuln_id_from_tool" => findings.retain(|one| contains(one.vuln_id.as_deref())),
            "file_path" => findings.retain(|one| contains(one.file_path.as_deref())),
            "severity" => findings.retain(|one| contains(Some(&one.severity))),
            "hash_code" => findings.retain(|one| contains(Some(&one.hash_code))),
            "tag" => findings.retain(|one| one.tags.iter().any(|tag| tag.to_lowercase().contains(&part))),
            "tags" => findings.retain(|one| one.tags.iter().any(|tag| value.split(',').any(|wanted| wanted == tag))),
            _ => {
                if let Some((_, flag)) = FLAGS.iter().find(|(one, _)| one == name) {
                    // A word that is no truth value counts as no filter, as in Django's own forms.
                    if let Some(wanted) = parse_bool(value) {
                        findings.retain(|one| flag(one) == wanted);
                    }
                } else if OTHERS.contains(&name.as_str()) {
                    return Err(unsimulated(&format!("the filter '{name}'")));
                }
            }
        }
    }
    if orders.is_empty() {
        orders = vec![(false, By::Severity), (true, By::Date), (false, By::Title)];
    }
    // What the orders leave equal comes in no order one may count on: the opposite of what one would expect.
    findings.sort_by(|a, b| {
        let compared = orders.iter().map(|(down, by)| {
            let compared = by.compare(a, b);
            if *down { compared.reverse() } else { compared }
        });
        compared.fold(Ordering::Equal, Ordering::then).then(b.id.cmp(&a.id))
    });
    Ok(findings)
}

#[derive(Clone, Copy)]
enum By {
    Id,
    Created,
    LastStatusUpdate,
    Severity,
    Date,
    Title,
    Active,
    Verified,
    IsMitigated,
}

impl By {
    fn compare(self, a: &Finding, b: &Finding) -> Ordering {
        match self {
            By::Id => a.id.cmp(&b.id),
            By::Created => a.created.cmp(&b.created),
            By::LastStatusUpdate => a.last_status_update.cmp(&b.last_status_update),
            By::Severity => a.numerical_severity().cmp(b.numerical_severity()),
            By::Date => a.date.cmp(&b.date),
            By::Title => a.title.cmp(&b.title),
            By::Active => a.status.active.cmp(&b.status.active),
            By::Verified => a.status.verified.cmp(&b.status.verified),
            By::IsMitigated => a.status.is_mitigated.cmp(&b.status.is_mitigated),
        }
    }
}

fn order(word: &str) -> Result<(bool, By), Answer> {
    let (down, name) = word.strip_prefix('-').map_or((false, word), |name| (true, name));
    let by = match name {
        "id" => By::Id,
        "created" => By::Created,
        "last_status_update" => By::LastStatusUpdate,
        "numerical_severity" | "severity" => By::Severity,
        "date" => By::Date,
        "title" => By::Title,
        "active" => By::Active,
        "verified" => By::Verified,
        "is_mitigated" => By::IsMitigated,
        // `updated` among them.
        _ => {
            let text = format!("Select a valid choice. {word} is not one of the available choices.");
            return Err(json_answer(400, &serde_json::json!({ "o": [text] })));
        }
    };
    Ok((down, by))
}

type Flag = fn(&Finding) -> bool;
const FLAGS: [(&str, Flag); 8] = [
    ("active", |one| one.status.active),
    ("verified", |one| one.status.verified),
    ("false_p", |one| one.status.false_p),
    ("out_of_scope", |one| one.status.out_of_scope),
    ("risk_accepted", |one| one.status.risk_accepted),
    ("is_mitigated", |one| one.status.is_mitigated),
    ("duplicate", |one| one.duplicate),
    ("under_review", |one| one.under_review),
];

/// Filters the real server has beside these.
const OTHERS: &[&str] = &[
    "component_name",
    "component_version",
    "created",
    "cvssv3",
    "cwe",
    "date",
    "description",
    "discovered_after",
    "discovered_before",
    "discovered_on",
    "duplicate_finding",
    "dynamic_finding",
    "found_by",
    "has_tags",
    "impact",
    "last_reviewed",
    "last_status_update",
    "mitigated",
    "mitigated_after",
    "mitigated_before",
    "mitigated_by",
    "mitigated_on",
    "mitigation",
    "not_tag",
    "not_tags",
    "numerical_severity",
    "outside_of_sla",
    "param",
    "prefetch",
    "product_name",
    "product_name_contains",
    "references",
    "related_fields",
    "reporter",
    "risk_acceptance",
    "service",
    "sast_source_file_path",
    "sast_source_line",
    "static_finding",
    "tags__and",
    "test__engagement__product__prod_type",
    "test__engagement__product__tags",
    "test__engagement__tags",
    "test__tags",
    "under_defect_review",
    "updated",
    "vulnerability_id",
];
