//! Forms: what was typed, its fields, and what is wrong with one of them. A form that is not accepted is shown again with
//! everything that was typed, but for secrets.

use axum::http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::wrong;
use super::words::capital;
use crate::admin::{Problem, shapes};
use crate::domain::secret::SecretText;

/// What somebody typed: pairs in the order of the form; a name may come more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Typed(Vec<(String, SecretText)>);

impl Typed {
    /// What stands in a field, without blanks around it; nothing where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| value.trim()).unwrap_or_default()
    }

    /// The same, where something stands there.
    pub(super) fn given(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// All values of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(of, _)| of == name).map(|(_, value)| value.trim())
    }

    /// Whether a box is ticked, and this value among those that are.
    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.0.iter().any(|(of, one)| of == name && one.trim() == value)
    }

    /// Whether a box is ticked.
    pub(super) fn ticked(&self, name: &str) -> bool {
        self.has_field(name)
    }

    /// Whether a field was among those that were sent, empty or not.
    pub(super) fn has_field(&self, name: &str) -> bool {
        self.0.iter().any(|(of, _)| of == name)
    }

    /// The lines of a field that are not empty.
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        self.text(name).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Puts a value into a field.
    pub(super) fn put(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), SecretText::new(value.into())));
    }
}

/// A form that is shown: with what was typed, and with what is wrong.
#[derive(Clone, Copy)]
pub(super) struct Sheet<'a> {
    pub(super) typed: &'a Typed,
    pub(super) problem: Option<&'a Problem>,
}

/// A field, and what stands around it.
#[derive(Clone, Copy, Default)]
pub(super) struct Line<'a> {
    /// Its name, and its id.
    pub(super) name: &'a str,
    pub(super) label: &'a str,
    pub(super) help: &'a str,
    /// An example, or what holds without a value.
    pub(super) example: &'a str,
    pub(super) required: bool,
}

impl Sheet<'_> {
    /// What is wrong with a field.
    fn wrong(&self, name: &str) -> Option<String> {
        let problem = self.problem.filter(|problem| problem.field() == Some(name))?;
        Some(sentence(problem.detail()))
    }

    /// What describes a field: its help, and what is wrong with it.
    fn described(line: &Line<'_>, is_wrong: bool) -> Option<String> {
        let help = (!line.help.is_empty()).then(|| format!("{}-help", line.name));
        let wrong = is_wrong.then(|| format!("{}-wrong", line.name));
        let ids: Vec<String> = help.into_iter().chain(wrong).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    fn around(&self, line: &Line<'_>, inside: &Markup) -> Markup {
        html! {
            div.field {
                label for=(line.name) { (line.label) }
                (inside)
                @if !line.help.is_empty() { p.help id={ (line.name) "-help" } { (line.help) } }
                (wrong(&format!("{}-wrong", line.name), self.wrong(line.name).as_deref()))
            }
        }
    }

    /// A line of text.
    pub(super) fn line(&self, line: Line<'_>) -> Markup {
        let is_wrong = self.wrong(line.name).is_some();
        let shown = Some(line.example).filter(|example| !example.is_empty());
        self.around(
            &line,
            &html! {
                input.in id=(line.name) name=(line.name) value=(self.typed.text(line.name)) placeholder=[shown]
                    required[line.required] autocomplete="off" autocapitalize="none" spellcheck="false"
                    aria-describedby=[Self::described(&line, is_wrong)] aria-invalid=[is_wrong.then_some("true")];
            },
        )
    }

    /// A secret: never shown again, so it is empty in every form.
    pub(super) fn secret(&self, line: Line<'_>) -> Markup {
        let is_wrong = self.wrong(line.name).is_some();
        self.around(
            &line,
            &html! {
                input.in id=(line.name) name=(line.name) type="password" required[line.required] autocomplete="off"
                    aria-describedby=[Self::described(&line, is_wrong)] aria-invalid=[is_wrong.then_some("true")];
            },
        )
    }

    /// Several lines of text.
    pub(super) fn area(&self, line: Line<'_>) -> Markup {
        let is_wrong = self.wrong(line.name).is_some();
        let shown = Some(line.example).filter(|example| !example.is_empty());
        self.around(
            &line,
            &html! {
                textarea.in id=(line.name) name=(line.name) placeholder=[shown] spellcheck="false"
                    aria-describedby=[Self::described(&line, is_wrong)] aria-invalid=[is_wrong.then_some("true")] {
                    // A browser drops the first line break of a field.
                    "\n" (self.typed.text(line.name))
                }
            },
        )
    }

    /// One of several words, each with what it is called.
    pub(super) fn choice(&self, line: Line<'_>, words: &[(&str, &str)]) -> Markup {
        let is_wrong = self.wrong(line.name).is_some();
        let chosen = self.typed.text(line.name);
        self.around(
            &line,
            &html! {
                select.in id=(line.name) name=(line.name)
                    aria-describedby=[Self::described(&line, is_wrong)] aria-invalid=[is_wrong.then_some("true")] {
                    @for (word, shown) in words { option value=(word) selected[*word == chosen] { (shown) } }
                }
            },
        )
    }

    /// A box to tick.
    pub(super) fn tick(&self, name: &str, value: &str, label: &str) -> Markup {
        html! {
            label.choice { input type="checkbox" name=(name) value=(value) checked[self.typed.has(name, value)]; " " span { (label) } }
        }
    }

    /// What is wrong, above the form, with the way to the field, what a look found, and what is safe.
    pub(super) fn summary(&self, title: &str, safe: &str) -> Markup {
        let Some(problem) = self.problem else { return html! {} };
        html! {
            div.notice.boxed.bad #problem role="alert" tabindex="-1" {
                span.is.bad { span.hide { "Error" } }
                div.stack {
                    p { strong { (title) } }
                    @if problem.lines().is_empty() {
                        p {
                            @match problem.field() {
                                Some(field) => { a href={ "#" (field) } { (sentence(problem.detail())) } }
                                None => { (sentence(problem.detail())) }
                            }
                            @if let Some(hint) = problem.hint().filter(|_| problem.field().is_none()) { " " (sentence(hint)) }
                        }
                    } @else { (lines(problem.lines())) }
                    p { (safe) }
                }
            }
        }
    }
}

/// The status of a page that shows a form again.
pub(super) fn status_again(problem: &Problem) -> StatusCode {
    match problem.status() {
        StatusCode::CONFLICT | StatusCode::BAD_GATEWAY => StatusCode::CONFLICT,
        status if status.is_client_error() => StatusCode::BAD_REQUEST,
        status => status,
    }
}

/// Whether what went wrong can be mended in the form that was sent.
pub(super) fn is_mendable(problem: &Problem) -> bool {
    matches!(
        problem.status(),
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::BAD_GATEWAY | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// What a look at another server found, in sentences.
pub(super) fn lines(lines: &[shapes::CheckLine]) -> Markup {
    html! {
        ul.stack {
            @for line in lines {
                li { span.{ "is " (if line.good { "ok" } else { "bad" }) } { span {
                    span.hide { (if line.good { "Good: " } else { "Wrong: " }) }
                    strong { (capital(&line.what)) } ": " (sentence_after(&line.text))
                } } }
            }
        }
    }
}

/// A text as a sentence.
pub(super) fn sentence(text: &str) -> String {
    sentence_after(&capital(text.trim()))
}

/// A text as the end of a sentence.
fn sentence_after(text: &str) -> String {
    let text = text.trim().to_owned();
    let ends = text.ends_with(['.', '?', '!', '`']);
    if ends || text.is_empty() { text } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_read_by_name_and_stands_in_the_form_again_but_for_secrets() {
        let mut typed = Typed::default();
        typed.put("name", " a<b ");
        typed.put("kinds", "hotspot");
        typed.put("lines", "one\r\n\r\n two ");
        assert_eq!((typed.text("name"), typed.given("none")), ("a<b", None));
        assert!(typed.has("kinds", "hotspot") && typed.ticked("kinds") && !typed.has("kinds", "vulnerability"));
        assert_eq!(typed.lines("lines"), ["one", "two"]);
        let problem = Problem::bad("it is \"odd\"").at("name");
        let sheet = Sheet { typed: &typed, problem: Some(&problem) };
        let line = Line { name: "name", label: "Name", ..Line::default() };
        let shown = sheet.line(line).into_string();
        assert!(shown.contains("value=\"a&lt;b\"") && shown.contains("It is &quot;odd&quot;."), "{shown}");
        assert!(shown.contains("aria-describedby=\"name-wrong\"") && shown.contains("aria-invalid=\"true\""));
        assert!(!sheet.secret(line).into_string().contains("a&lt;b"));
    }
}
