//! Reading a large project again of which nothing, little or something has changed.

use std::time::Instant;

use crate::process::{written, written_since};
use crate::support::connect;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Mode, Severity, Sonar};
use crate::table::{Figure, Table};
use crate::{MIB, Scale, import_from, section, settle, total};

/// See the module.
pub(crate) fn measure(scale: &Scale, table: &mut Table) {
    let all = scale.largest;
    section(&format!("Reading a project of {all} findings again"));
    let sonar = Sonar::start(Mode::Server { version: "2026.3.0.1", mqr: true });
    sonar.edit(|model| {
        model.add_project("", "big", "Big");
        model.add_issues("big", "main", all);
    });
    let gateway = Gateway::start();
    // What is measured is the work, and not the budget that spares a SonarQube.
    gateway.json(&["config", "set", "requests-per-minute", "100000"]);
    connect(&gateway, &sonar);
    import_from(&gateway, "sonar", &["big"]);
    settle(&gateway);
    // What an import leaves to do is done with the first one.
    gateway.json(&["sync", "sonar", "big", "--wait"]);
    let mut keys: Vec<String> = sonar.edit(|model| {
        let issues = model.branch("big", "main").expect("it is there").issues().iter();
        issues.filter(|issue| issue.severity != Severity::Info).map(|issue| issue.key.clone()).collect()
    });
    let infos = |gateway| total(gateway, "findings?severity=info&limit=1");
    for changed in [0, 10, scale.largest / 100] {
        let before = infos(&gateway);
        sonar.edit(|model| keys.drain(..changed).for_each(|key| model.set_severity(&key, Severity::Info)));
        sonar.forget_requests();
        let (bytes, begin) = (written(gateway.id()), Instant::now());
        gateway.json(&["sync", "sonar", "big", "--wait"]);
        let took = begin.elapsed();
        let bytes = written_since(gateway.id(), bytes);
        let searches = sonar.requests().iter().filter(|call| call.path == "/api/issues/search").count();
        assert_eq!(infos(&gateway), before + changed as u64);
        table.noted(&format!("{all} findings read again, {changed} changed"), Figure::Time(took));
        // Pages of 500, and what parts them into windows that Sonar shows.
        let most = Figure::Count((all.div_ceil(500) * 115 / 100) as u64);
        table.limited("  searches; limit: 1.15 x pages", Figure::Count(searches as u64), most);
        match changed {
            0 => table.limited_bytes("  bytes that it wrote", bytes, MIB),
            _ => {
                if let Some(bytes) = bytes {
                    table.noted("  bytes that it wrote", Figure::Bytes(bytes));
                }
            }
        }
    }
}
