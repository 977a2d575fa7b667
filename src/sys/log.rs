//! Logs go to stderr: as text with journal priorities under systemd, as plain text on a terminal, or as JSON.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// What chooses the lines that are logged.
const FILTER: &str = "HYDROPHONE_LOG";

/// What the lines go through, once logging has begun.
static CHOICE: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Begins to log. `HYDROPHONE_LOG` filters (`debug`, `info,hydrophone::work=debug`); without it `info` and above, until
/// [`choose`] says otherwise.
pub fn start(json: bool) {
    let wanted = given();
    let parsed = wanted.as_deref().map(str::parse::<Targets>).transpose();
    let (filter, handle) = reload::Layer::new(parsed.as_ref().ok().cloned().flatten().unwrap_or_else(usual));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let begun = if json {
        registry.with(lines.json()).try_init()
    } else {
        let priorities = std::env::var_os("JOURNAL_STREAM").is_some();
        registry.with(lines.event_format(Lines { priorities })).try_init()
    };
    // A second start, as in tests that run two daemons in one process, keeps the first one's choice.
    if begun.is_ok() {
        let _ = CHOICE.set(handle);
    }
    if let (Err(error), Some(wanted)) = (parsed, wanted) {
        tracing::warn!("{FILTER} is `{wanted}`, which is no filter ({error}): `info` and above is logged");
    }
}

/// Logs what this setting lets through, or what is usual; what `HYDROPHONE_LOG` says stands. True if that is another
/// choice than before.
pub fn choose(setting: Option<&str>) -> bool {
    let Some(choice) = CHOICE.get().filter(|_| given().is_none()) else { return false };
    // The setting was checked when it was set.
    let wanted = setting.and_then(|text| text.parse().ok()).unwrap_or_else(usual);
    if choice.with_current(|known| *known == wanted).unwrap_or(true) {
        return false;
    }
    choice.reload(wanted).is_ok()
}

fn given() -> Option<String> {
    std::env::var(FILTER).ok().filter(|wanted| !wanted.trim().is_empty())
}

/// What matters of a server of NATS is said by the destination, in our words.
fn usual() -> Targets {
    Targets::new().with_default(LevelFilter::INFO).with_target("async_nats", LevelFilter::OFF)
}

/// An event is one line whatever is in it: words from outside must not pass for a line of ours, nor steer the terminal that
/// shows them.
fn one_line(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if steers(c) { ' ' } else { c }).collect())
}

/// One line an event; with `<priority>` first where the journal reads it (sd-daemon(3)).
struct Lines {
    priorities: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        if self.priorities {
            let priority = match level {
                Level::ERROR => 3,
                Level::WARN => 4,
                Level::INFO => 6,
                _ => 7,
            };
            write!(writer, "<{priority}>")?;
        } else {
            write!(writer, "{} {level:5} ", super::clock::now())?;
        }
        let mut line = String::new();
        context.format_fields(Writer::new(&mut line), event)?;
        writeln!(writer, "{}", one_line(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn words_from_outside_stay_within_their_line() {
        assert_eq!(one_line("a word: \u{e9}"), "a word: \u{e9}");
        assert_eq!(one_line("no\n<3>disk full\r\u{1b}[2J\u{202e}x\u{2066}\u{85}"), "no <3>disk full  [2J x  ");
    }
}
