//! Logs go to stderr: as text with journal priorities under systemd, as plain text on a terminal, or as JSON.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// What chooses the lines that are logged.
const FILTER: &str = "HYDROPHONE_LOG";

/// Begins to log. `HYDROPHONE_LOG` filters (`debug`, `info,hydrophone::work=debug`); without it `info` and above.
pub fn start(json: bool) {
    let wanted = std::env::var(FILTER).ok().filter(|wanted| !wanted.trim().is_empty());
    let parsed = wanted.as_deref().map(str::parse::<Targets>).transpose();
    let filter =
        parsed.as_ref().ok().cloned().flatten().unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start, as in tests that run two daemons in one process, keeps the first one's choice.
    let _ = if json {
        registry.with(lines.json()).try_init()
    } else {
        let priorities = std::env::var_os("JOURNAL_STREAM").is_some();
        registry.with(lines.event_format(Lines { priorities })).try_init()
    };
    if let (Err(error), Some(wanted)) = (parsed, wanted) {
        tracing::warn!("{FILTER} is `{wanted}`, which is no filter ({error}): `info` and above is logged");
    }
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
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
