//! A box that is set up and has nothing to do: what it costs to have it there.

use std::fs;
use std::thread;

use crate::process::{memory, ticks, written, written_since};
use crate::support::gateway::Gateway;
use crate::support::sonar::{Mode, Sonar};
use crate::support::{connect, hook_up};
use crate::table::{Figure, Table};
use crate::{MIB, ORGANIZATION, Scale, import, section, settle, start_after};

/// With a source, findings and a webhook, and nothing that changes.
pub(crate) fn measure(scale: &Scale, table: &mut Table) {
    let minutes = scale.idle.as_secs() / 60;
    section(&format!("A box with nothing to do for {minutes} minutes"));
    let program = std::env::var_os("HYDROPHONE_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_hydrophone").into(), std::path::PathBuf::from);
    let size = fs::metadata(program).map_or(0, |file| file.len());
    table.limited("the program", Figure::Bytes(size), Figure::Bytes(10 * MIB));
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project(ORGANIZATION, "watched", "Watched");
        model.add_issues("watched", "main", scale.watched)
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    import(&gateway, &["watched"]);
    hook_up(&gateway, &sonar, ORGANIZATION);
    settle(&gateway);
    let (gateway, took) = start_after(gateway.stop(), &[]);
    table.limited("start to ready", Figure::Time(took), Figure::Time(std::time::Duration::from_millis(100)));
    settle(&gateway);
    // What a start writes and reads is over by then.
    thread::sleep(scale.idle / 10);
    let (disk, processor) = (written(gateway.id()), ticks(gateway.id()));
    thread::sleep(scale.idle);
    table.limited_bytes("written to disk while idle", written_since(gateway.id(), disk), 0);
    #[allow(clippy::cast_precision_loss, reason = "hundredths of seconds")]
    let part = (ticks(gateway.id()) - processor) as f64 / 100.0 / scale.idle.as_secs_f64();
    table.limited("part of one processor used while idle", Figure::Ratio(part), Figure::Ratio(0.001));
    table.limited("memory when idle", Figure::Bytes(memory(gateway.id(), "VmRSS")), Figure::Bytes(15 * MIB));
}
