//! Logs go to stderr: as text with journal priorities under systemd, as plain text on a terminal, or as JSON.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Begins to log. `HYDROPHONE_LOG` filters (`debug`, `hydrophone::work=debug`); without it `info` and above.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_env("HYDROPHONE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, as in tests that run two daemons in one process, keeps the first one's choice.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.event_format(Lines { priorities: std::env::var_os("JOURNAL_STREAM").is_some() }).try_init()
    };
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
