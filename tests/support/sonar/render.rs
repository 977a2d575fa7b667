//! How issues, hotspots and components look in answers.

use std::collections::BTreeSet;

use super::issue::{Hotspot, Issue, TextRange, component};
use super::json::Json;
use super::model::{Branch, Model, Project};
use super::params::Page;
use super::rules::Rule;
use super::search::{Seen, Spot};
use super::words::{HotspotResolution, ImpactSeverity};

pub(super) const EFFORT_MINUTES: usize = 30;

/// Before Server 10.8 impacts knew three severities only.
pub(super) fn shown(severity: ImpactSeverity, wide: bool) -> ImpactSeverity {
    match severity {
        ImpactSeverity::Blocker if !wide => ImpactSeverity::High,
        ImpactSeverity::Info if !wide => ImpactSeverity::Low,
        other => other,
    }
}

pub(super) fn paging(json: &mut Json, page: Page, total: usize) {
    json.nested("paging", |json| {
        json.number("pageIndex", page.number);
        json.number("pageSize", page.size);
        json.number("total", total);
    });
}

pub(super) fn issues_page(model: &Model, seen: &Seen<'_>, page: Page, with_rules: bool) -> String {
    let shown = &seen.rows;
    Json::object(|json| {
        json.number("total", seen.total);
        json.number("p", page.number);
        json.number("ps", page.size);
        paging(json, page, seen.total);
        json.number("effortTotal", seen.effort_minutes);
        json.list("issues", |json| {
            for spot in shown {
                json.item(|json| issue(json, model, *spot));
            }
        });
        let places = shown.iter().map(|spot| {
            let (project, _, issue) = spot.look(model);
            (project, issue.path.as_deref())
        });
        components(json, model, places);
        if model.edition.cloud {
            json.list("organizations", |json| {
                let keys: BTreeSet<_> = shown.iter().map(|spot| &spot.look(model).0.organization).collect();
                for organization in model.organizations.iter().filter(|one| keys.contains(&one.key)) {
                    json.item(|json| {
                        json.text("key", &organization.key);
                        json.text("name", &organization.name);
                    });
                }
            });
        }
        if with_rules {
            json.list("rules", |json| {
                let keys: BTreeSet<_> = shown.iter().map(|spot| &spot.look(model).2.rule).collect();
                for rule in keys.into_iter().filter_map(|key| model.rules.get(key)) {
                    json.item(|json| rule_line(json, rule));
                }
            });
        }
        let Some(facets) = &seen.facets else { return };
        json.list("facets", |json| {
            for (name, values) in facets.iter() {
                json.item(|json| {
                    json.text("property", name);
                    json.list("values", |json| {
                        for (value, count) in values {
                            json.item(|json| {
                                json.text("val", value);
                                json.number("count", *count);
                            });
                        }
                    });
                });
            }
        });
    })
}

fn issue(json: &mut Json, model: &Model, spot: Spot) {
    let (project, branch, issue) = spot.look(model);
    let edition = model.edition;
    let older = !model.settings.newer_taxonomy_only;
    let zone = model.settings.zone;
    json.text("key", &issue.key);
    json.text("rule", &issue.rule);
    if older {
        json.text("severity", issue.severity.word());
    }
    json.text("component", &issue.component(&project.key));
    json.text("project", &project.key);
    if let Some(line) = issue.line() {
        json.number("line", line);
    }
    json.text_if("hash", issue.hash.as_deref());
    text_range(json, issue.text_range.as_ref());
    flows(json, project, issue);
    if older {
        json.text_if("resolution", issue.resolution.map(super::words::Resolution::word));
        json.text("status", issue.status.word());
    }
    json.text("message", &issue.message);
    json.text("effort", "30min");
    json.text("debt", "30min");
    json.text_if("assignee", issue.assignee.as_deref());
    json.text("author", &issue.author);
    json.texts("tags", issue.tags.iter().map(String::as_str));
    json.text("creationDate", &zone.show(issue.created));
    json.text("updateDate", &zone.show(issue.updated));
    json.text_if("closeDate", issue.closed.map(|at| zone.show(at)).as_deref());
    if older {
        json.text("type", issue.kind.word());
    }
    if edition.cloud {
        json.text("organization", &project.organization);
    }
    branch_of(json, branch);
    json.text_if("externalRuleEngine", issue.external_engine.as_deref());
    json.text("scope", "MAIN");
    json.flag("quickFixAvailable", false);
    if edition.since(9, 8) {
        json.list("messageFormattings", |_| {});
    }
    if edition.since(10, 1) {
        json.list("codeVariants", |_| {});
    }
    if edition.has_impacts() {
        json.text("cleanCodeAttribute", "TRUSTWORTHY");
        json.text("cleanCodeAttributeCategory", "RESPONSIBLE");
        json.list("impacts", |json| {
            for (quality, severity) in &issue.impacts {
                json.item(|json| {
                    json.text("softwareQuality", quality.word());
                    json.text("severity", shown(*severity, edition.has_wide_impacts()).word());
                });
            }
        });
    }
    if edition.has_issue_status() {
        json.text("issueStatus", issue.issue_status().word());
    }
    if edition.since(10, 6) {
        json.flag("prioritizedRule", false);
    }
}

/// The main branch is not named on its issues.
fn branch_of(json: &mut Json, branch: &Branch) {
    if branch.is_pull_request() {
        json.text("pullRequest", &branch.name);
    } else if !branch.is_main() {
        json.text("branch", &branch.name);
    }
}

fn flows(json: &mut Json, project: &Project, issue: &Issue) {
    json.list("flows", |json| {
        for flow in &issue.flows {
            json.item(|json| {
                json.list("locations", |json| {
                    for step in flow {
                        json.item(|json| {
                            json.text("component", &component(&project.key, Some(&step.path)));
                            let (start_line, end_line) = (step.line, step.line);
                            text_range(
                                json,
                                Some(&TextRange { start_line, end_line, start_offset: 4, end_offset: 20 }),
                            );
                            json.text("msg", &step.message);
                            json.list("msgFormattings", |_| {});
                        });
                    }
                });
            });
        }
    });
}

fn text_range(json: &mut Json, range: Option<&TextRange>) {
    if let Some(range) = range {
        json.nested("textRange", |json| {
            json.number("startLine", range.start_line);
            json.number("endLine", range.end_line);
            json.number("startOffset", range.start_offset);
            json.number("endOffset", range.end_offset);
        });
    }
}

fn components<'a>(json: &mut Json, model: &Model, places: impl Iterator<Item = (&'a Project, Option<&'a str>)>) {
    let mut wanted = BTreeSet::new();
    let mut owners = Vec::new();
    for (project, path) in places {
        for path in [None, path] {
            if wanted.insert((project.key.as_str(), path)) {
                owners.push((project, path));
            }
        }
    }
    json.list("components", |json| {
        for (project, path) in owners {
            json.item(|json| {
                if model.edition.cloud {
                    json.text("organization", &project.organization);
                }
                json.text("key", &component(&project.key, path));
                json.flag("enabled", true);
                component_body(json, project, path);
            });
        }
    });
}

fn component_body(json: &mut Json, project: &Project, path: Option<&str>) {
    if let Some(path) = path {
        json.text("qualifier", "FIL");
        json.text("name", path.rsplit('/').next().unwrap_or(path));
        json.text("longName", path);
        json.text("path", path);
    } else {
        json.text("qualifier", "TRK");
        json.text("name", &project.name);
        json.text("longName", &project.name);
    }
}

fn rule_line(json: &mut Json, rule: &Rule) {
    let (language, language_name) = rule.language();
    json.text("key", &rule.key);
    json.text("name", &rule.name);
    json.text("status", "READY");
    json.text("lang", language);
    json.text("langName", language_name);
}

pub(super) fn hotspots_page(model: &Model, shown: &[(&Project, &Hotspot)], page: Page, total: usize) -> String {
    Json::object(|json| {
        paging(json, page, total);
        json.list("hotspots", |json| {
            for (project, hotspot) in shown {
                json.item(|json| {
                    json.text("key", &hotspot.key);
                    json.text("component", &component(&project.key, Some(&hotspot.path)));
                    json.text("project", &project.key);
                    json.text("securityCategory", &hotspot.category);
                    json.text("vulnerabilityProbability", hotspot.probability.word());
                    hotspot_state(json, model, hotspot);
                    text_range(json, hotspot.text_range.as_ref());
                    json.list("flows", |_| {});
                    if model.edition.since(9, 7) {
                        json.text("ruleKey", &hotspot.rule);
                    }
                    if model.edition.since(9, 8) {
                        json.list("messageFormattings", |_| {});
                    }
                });
            }
        });
        components(json, model, shown.iter().map(|(project, hotspot)| (*project, Some(hotspot.path.as_str()))));
    })
}

pub(super) fn hotspot_page(model: &Model, project: &Project, hotspot: &Hotspot) -> String {
    let rule = model.rules.get(&hotspot.rule);
    Json::object(|json| {
        json.text("key", &hotspot.key);
        for (name, path) in [("component", Some(hotspot.path.as_str())), ("project", None)] {
            json.nested(name, |json| {
                json.text("key", &component(&project.key, path));
                component_body(json, project, path);
            });
        }
        json.nested("rule", |json| {
            json.text("key", &hotspot.rule);
            json.text("name", rule.map_or("rule-name", |rule| &rule.name));
            json.text("securityCategory", &hotspot.category);
            json.text("vulnerabilityProbability", hotspot.probability.word());
            if let Some(rule) = rule {
                json.text("riskDescription", &rule.description_html());
                json.text("fixRecommendations", &rule.resources_html());
            }
        });
        hotspot_state(json, model, hotspot);
        json.text_if("hash", hotspot.hash.as_deref());
        text_range(json, hotspot.text_range.as_ref());
        json.list("flows", |_| {});
        json.list("messageFormattings", |_| {});
        json.list("changelog", |_| {});
        json.list("comment", |json| {
            for text in &hotspot.comments {
                json.item(|json| json.text("markdown", text));
            }
        });
        json.list("users", |_| {});
        json.flag("canChangeStatus", false);
    })
}

fn hotspot_state(json: &mut Json, model: &Model, hotspot: &Hotspot) {
    let zone = model.settings.zone;
    json.text("status", hotspot.status.word());
    json.text_if("resolution", hotspot.resolution.map(HotspotResolution::word));
    if let Some(range) = &hotspot.text_range {
        json.number("line", range.start_line);
    }
    json.text("message", &hotspot.message);
    json.text_if("assignee", hotspot.assignee.as_deref());
    json.text("author", &hotspot.author);
    json.text("creationDate", &zone.show(hotspot.created));
    json.text("updateDate", &zone.show(hotspot.updated));
}

pub(super) fn rule_page(model: &Model, rule: &Rule) -> String {
    Json::object(|json| {
        json.nested("rule", |json| {
            json.text("key", &rule.key);
            json.text("repo", rule.repository());
            json.text("name", &rule.name);
            // Rule descriptions left out the older form with Server 2025.1.
            if model.edition.cloud || !model.edition.since(2025, 1) {
                json.text("htmlDesc", &format!("{}\n{}", rule.description_html(), rule.resources_html()));
            }
            json.text("severity", rule.severity.word());
            json.text("status", "READY");
            json.flag("isTemplate", false);
            json.texts("tags", []);
            json.texts("sysTags", rule.tags.iter().map(String::as_str));
            json.text("lang", rule.language().0);
            json.text("langName", rule.language().1);
            json.text("scope", "MAIN");
            json.flag("isExternal", rule.key.starts_with("external_"));
            json.text("type", rule.type_word());
            if model.edition.has_impacts() {
                let quality = if rule.type_word() == "CODE_SMELL" { "MAINTAINABILITY" } else { "SECURITY" };
                json.text("cleanCodeAttributeCategory", "RESPONSIBLE");
                json.text("cleanCodeAttribute", "TRUSTWORTHY");
                json.list("impacts", |json| {
                    json.item(|json| {
                        json.text("softwareQuality", quality);
                        let severity = shown(rule.severity.impact(), model.edition.has_wide_impacts());
                        json.text("severity", severity.word());
                    });
                });
            }
            json.list("descriptionSections", |json| {
                json.item(|json| {
                    json.text("key", "root_cause");
                    json.text("content", &rule.description_html());
                });
                for (key, name) in [("spring", "Spring"), ("hibernate", "Hibernate")] {
                    json.item(|json| {
                        json.text("key", "how_to_fix");
                        json.text("content", "<h2>How to fix it</h2><p>Check what comes in & escape it.</p>");
                        json.nested("context", |json| {
                            json.text("displayName", name);
                            json.text("key", key);
                        });
                    });
                }
                json.item(|json| {
                    json.text("key", "resources");
                    json.text("content", &rule.resources_html());
                });
            });
            json.list("params", |_| {});
        });
        json.list("actives", |_| {});
    })
}
