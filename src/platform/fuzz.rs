//! See [`crate::fuzz`].

/// A platform's answer; the first byte says whose and to what.
pub(crate) fn answer(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    if !super::http::is_measured(body) {
        return;
    }
    match which % 3 {
        0 => super::conviso::fuzz(body),
        1 => super::defectdojo::fuzz(body),
        _ => super::github::fuzz(body),
    }
    let words = super::http::plainly(&String::from_utf8_lossy(body));
    assert!(words.chars().count() <= 300 && !words.contains(char::is_control));
}
