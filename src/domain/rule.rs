//! What a rule's text says. Sonar's issues carry no CWE numbers; the rule's description links to them.

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
    fn a_text_without_numbers_has_none() {
        for text in ["", "cwe", "CWE-", "CWE-x", "cwe-0", "CWE-99999999999999"] {
            assert_eq!(cwe_numbers(text), Vec::<u32>::new(), "{text}");
        }
    }
}
