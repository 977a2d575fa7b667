//! Sonar's HTML on our page: structure and text stay, whatever could do something or fetch something does not.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

static CLEANER: LazyLock<ammonia::Builder<'static>> = LazyLock::new(|| {
    let tags = [
        "p",
        "br",
        "h2",
        "h3",
        "h4",
        "ul",
        "ol",
        "li",
        "pre",
        "code",
        "b",
        "strong",
        "i",
        "em",
        "blockquote",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "dl",
        "dt",
        "dd",
        "a",
    ];
    let mut builder = ammonia::Builder::empty();
    builder
        .tags(HashSet::from(tags))
        .clean_content_tags(HashSet::from(["script", "style", "svg", "math", "template"]))
        .tag_attributes(HashMap::from([("a", HashSet::from(["href"]))]))
        .url_schemes(HashSet::from(["https"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noreferrer noopener"));
    builder
});

/// The text without anything that could do harm.
pub(super) fn clean(text: &str) -> String {
    CLEANER.clean(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn structure_stays_and_nothing_can_be_done_or_fetched() {
        let good = "<h2>Why</h2><p>Use <code>?</code>. <a href=\"https://cwe.mitre.org\">CWE</a></p>";
        let kept = "<h2>Why</h2><p>Use <code>?</code>. <a href=\"https://cwe.mitre.org\" rel=\"noreferrer noopener\">CWE</a></p>";
        assert_eq!(clean(good), kept);
        for bad in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<svg><script>alert(1)</script></svg>",
            "<style>body{display:none}</style>",
            "<iframe src=\"https://evil.example\"></iframe>",
            "<link rel=stylesheet href=\"https://evil.example\">",
            "<form action=\"https://evil.example\"><input></form>",
        ] {
            assert_eq!(clean(bad), "", "{bad}");
        }
        assert_eq!(
            clean("<a href=\"javascript:alert(1)\" style=\"x\" onclick=\"y\" id=\"main\">x</a>"),
            "<a rel=\"noreferrer noopener\">x</a>"
        );
    }
}
