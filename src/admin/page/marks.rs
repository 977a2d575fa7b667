//! Severities and states as marks: shape, tone and word.

use maud::{Markup, html};

/// A severity.
pub(super) fn severity(word: &str) -> Markup {
    let (class, shown) = match word {
        "critical" => ("critical", "Critical"),
        "high" => ("high", "High"),
        "medium" => ("medium", "Medium"),
        "low" => ("low", "Low"),
        _ => ("info", "Info"),
    };
    html! { span.{ "sev " (class) } { (shown) } }
}

/// A finding's state.
pub(super) fn state(word: &str) -> Markup {
    let (class, shown) = match word {
        "open" => ("wait", "Open"),
        "confirmed" => ("sure", "Confirmed"),
        "accepted" => ("pause", "Accepted"),
        "false_positive" => ("none", "False positive"),
        "fixed" => ("ok", "Fixed"),
        "removed" => ("none", "Removed"),
        other => ("none", other),
    };
    html! { span.{ "is " (class) } { (shown) } }
}

/// A path cut at its front to its last two parts, and to 40 characters.
pub(super) fn short_path(path: &str) -> String {
    let parts: Vec<&str> = path.rsplitn(3, '/').collect();
    let last = match parts.as_slice() {
        [file, folder, _] => format!("…/{folder}/{file}"),
        _ => path.to_owned(),
    };
    let length = last.chars().count();
    if length <= PATH_CHARACTERS_MAX {
        return last;
    }
    let tail: String = last.chars().skip(length - PATH_CHARACTERS_MAX + 1).collect();
    format!("…{tail}")
}

const PATH_CHARACTERS_MAX: usize = 40;

/// The head of a column. Tables name their roles, because some browsers forget them where a table is shown as a list.
pub(super) fn column(title: &str) -> Markup {
    html! { th role="columnheader" scope="col" { (title) } }
}

/// The same of a column of numbers or times.
pub(super) fn number_column(title: &str) -> Markup {
    html! { th.num role="columnheader" scope="col" { (title) } }
}

/// The same of what can be done with a row.
pub(super) fn actions_column() -> Markup {
    html! { th.act role="columnheader" scope="col" { span.hide { "Actions" } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_at_its_front() {
        assert_eq!(short_path("deploy/values.yaml"), "deploy/values.yaml");
        assert_eq!(short_path("src/main/java/gateway/AcquirerClient.java"), "…/gateway/AcquirerClient.java");
        let long = short_path(&format!("a/b/{}.java", "x".repeat(80)));
        assert_eq!((long.chars().count(), long.starts_with('…'), long.ends_with("x.java")), (40, true, true));
    }
}
