//! What a rule's text says, and how it reads without HTML. Sonar's issues carry no CWE numbers; the rule's description
//! links to them.

/// The CWE numbers that a rule's text names, each once, in ascending order. Both forms count: `CWE-89` and the
/// address `cwe.mitre.org/data/definitions/89`.
pub fn cwe_numbers(text: &str) -> Vec<u32> {
    let lower = text.to_ascii_lowercase();
    let mut numbers: Vec<u32> = ["cwe-", "cwe.mitre.org/data/definitions/"]
        .iter()
        .flat_map(|mark| lower.match_indices(mark).map(move |(at, _)| at + mark.len()))
        .filter_map(|at| {
            let digits = lower[at..].bytes().take_while(u8::is_ascii_digit).count();
            lower[at..at + digits].parse().ok().filter(|&number| number > 0)
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Sonar's HTML as plain text: tags go, blocks begin lines, entities become what they stand for.
pub fn plain_text(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    for part in parts(html) {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Tag { name, closing } => text.push_str(match (name.as_str(), closing) {
                ("li", false) => "\n- ",
                ("td" | "th", true) => " ",
                ("br" | "tr", _) => "\n",
                (name, _) if is_block(name) => "\n\n",
                _ => "",
            }),
        }
    }
    tidy(&decoded(&text))
}

/// Sonar's HTML as Markdown: headings, lists, code and emphasis stay what they are, other tags go.
pub fn markdown(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let (mut listing, mut code) = (false, false);
    for part in parts(html) {
        match part {
            Part::Text(part) if listing || code => text.push_str(&decoded(part)),
            // What looks like a tag in Markdown is one.
            Part::Text(part) => text.push_str(&part.replace('<', "&lt;")),
            Part::Tag { name, closing } => match (name.as_str(), closing) {
                ("pre", _) => {
                    // A text that was cut may open twice what it never closes.
                    listing = !closing;
                    code = false;
                    text.push_str(if closing { "\n```\n\n" } else { "\n\n```\n" });
                }
                _ if listing => {}
                ("code" | "tt", _) if code == closing => {
                    code = !closing;
                    text.push('`');
                }
                ("h1" | "h2", false) => text.push_str("\n\n## "),
                ("h3" | "h4" | "h5", false) => text.push_str("\n\n### "),
                ("b" | "strong", _) if !code => text.push_str("**"),
                ("li", false) => text.push_str("\n- "),
                ("td" | "th", true) => text.push(' '),
                ("br" | "tr", _) => text.push('\n'),
                (name, _) if is_block(name) => text.push_str("\n\n"),
                _ => {}
            },
        }
    }
    if code {
        text.push('`');
    }
    if listing {
        text.push_str("\n```");
    }
    tidy(&text)
}

enum Part<'a> {
    Text(&'a str),
    Tag { name: String, closing: bool },
}

fn parts(html: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = html;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if opens_tag(rest)
            && let Some(end) = rest.find('>')
        {
            let tag = &rest[1..end];
            rest = &rest[end + 1..];
            let closing = tag.starts_with('/');
            let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
            return Some(Part::Tag { name: name.to_ascii_lowercase(), closing });
        }
        // A lone `<`, as in `a < b`, is text.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find('<').map_or(rest.len(), |at| at + first);
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Part::Text(text))
    })
}

fn opens_tag(rest: &str) -> bool {
    let mut characters = rest.chars();
    characters.next() == Some('<') && characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '/' || c == '!')
}

fn is_block(name: &str) -> bool {
    matches!(name, "p" | "div" | "ul" | "ol" | "pre" | "table" | "blockquote" | "h1" | "h2" | "h3" | "h4" | "h5")
}

fn decoded(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest.find(';').filter(|&end| end <= ENTITY_BYTES_MAX);
        if let Some((end, c)) = entity.and_then(|end| Some((end, character(&rest[1..end])?))) {
            plain.push(c);
            rest = &rest[end + 1..];
        } else {
            plain.push('&');
            rest = &rest[1..];
        }
    }
    plain.push_str(rest);
    plain
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// Keeps at most one empty line between two others.
fn tidy(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if !(line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
            lines.push(line);
        }
    }
    while lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines.join("\n")
}

/// The longest entity that is decoded, such as `&#x10FFFF;`.
const ENTITY_BYTES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_words_and_links_once_and_in_order() {
        let text = r#"<li><a href="https://cwe.mitre.org/data/definitions/798">CWE-798</a> and
            <a href="http://cwe.mitre.org/data/definitions/259.html">MITRE, CWE-259</a>"#;
        assert_eq!(cwe_numbers(text), [259, 798]);
    }

    #[test]
    fn html_becomes_readable_lines() {
        let html =
            "<h2>Why</h2>\n<p>A &lt;b&gt; is <code>x &amp; y</code> if a < b.</p><ul><li>one</li><li>two</li></ul>";
        assert_eq!(plain_text(html), "Why\n\nA <b> is x & y if a < b.\n\n- one\n- two");
        assert_eq!(markdown(html), "## Why\n\nA &lt;b&gt; is `x & y` if a &lt; b.\n\n- one\n- two");
    }

    #[test]
    fn listings_stay_listings_and_what_was_cut_is_closed() {
        let html = "<p>See <b>this</b>:</p><pre>if (a &lt; b) {\n  <em>x</em>();\n}</pre><p>and <code>cut";
        let expected = "See **this**:\n\n```\nif (a < b) {\n  x();\n}\n```\n\nand `cut`";
        assert_eq!(markdown(html), expected);
        assert_eq!(markdown("<pre>a <co"), "```\na <co\n```");
        assert_eq!(markdown("é<é> ü"), "é&lt;é> ü");
    }

    #[test]
    fn a_text_without_numbers_has_none() {
        for text in ["", "cwe", "CWE-", "CWE-x", "cwe-0", "CWE-99999999999999"] {
            assert_eq!(cwe_numbers(text), Vec::<u32>::new(), "{text}");
        }
    }
}
