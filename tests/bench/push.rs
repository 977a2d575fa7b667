//! The first push of everything to each platform: its time, its requests beside the least that the platform's API allows,
//! and the gateway's memory.

use std::time::{Duration, Instant};

use crate::nats::{Server, confined, usual};
use crate::peers;
use crate::process::memory;
use crate::support::conviso::Conviso;
use crate::support::defectdojo::DefectDojo;
use crate::support::gateway::Gateway;
use crate::support::receiver::Receiver;
use crate::support::sonar::{Mode, Sonar};
use crate::support::{api, connect};
use crate::table::{Figure, Table};
use crate::{MIB, Scale, import, section, total, wait};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// See the module.
pub(crate) fn first(scale: &Scale, table: &mut Table) {
    let all = scale.pushed;
    section(&format!("The first push of {all} findings"));
    let sonar = Sonar::start(Mode::Cloud);
    // A project of Cloud larger than Sonar's window takes longer to read, and nobody reads here.
    let names: Vec<String> = (0..2).map(|number| format!("pushed-{number}")).collect();
    sonar.edit(|model| {
        for name in &names {
            model.add_project("acme", name, name);
            model.add_issues(name, "main", all / 2);
        }
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    import(&gateway, &names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(total(&gateway, "findings?limit=1"), all as u64);

    let dojo = DefectDojo::start();
    let (gateway, push) = pushed(gateway, &["defectdojo", "dojo", "--url", &dojo.url()], &dojo.token());
    assert_eq!(dojo.edit(|model| model.findings.len()), all);
    // 500 findings a file, and one list that says which numbers they were given.
    // Beside them: is the token good, two places are made, and the first look at decisions.
    let most = 2 * all.div_ceil(500) + 20;
    push.enter(table, "DefectDojo", all, (dojo.requests().len(), most), "2 x files of 500 + 20");

    let conviso = Conviso::start();
    let url = conviso.url();
    let add = ["conviso", "conviso", "--url", &url, "--option", "company=42"];
    let (gateway, push) = pushed(gateway, &add, Conviso::KEY);
    assert_eq!(conviso.edit(|model| model.issues.len()), all);
    // 50 findings a batch, 100 a page that is read back, and two requests for each 250 that are shown as one sync.
    // Beside them: what the account's schema offers takes 15, and is asked for when it is added and when it is told.
    let most = all.div_ceil(50) + 5 * all.div_ceil(250) + 40;
    push.enter(table, "Conviso", all, (conviso.calls().len(), most), "batches of 50 + 5 for each 250 + 40");

    let receiver = Receiver::start(SECRET);
    let (gateway, push) = pushed(gateway, &["events", "siem", "--url", &receiver.url()], SECRET);
    let told = receiver.events().iter().filter(|event| event["data"]["key"].is_string()).count();
    assert_eq!(told, all);
    push.enter(table, "signed events", all, (receiver.calls().len(), all + 1), "one an event + 1");

    if peers::tool("nats-server").is_none() {
        println!("  nats-server is not here, so NATS is left out");
        drop(gateway.stop());
        return;
    }
    let server = Server::start(&[confined("berlin")]);
    server.make(usual());
    let add = ["nats", "fleet", "--url", &server.url(), "--option", "site=berlin"];
    let (gateway, push) = pushed(gateway, &add, "berlin:berlin-secret");
    assert_eq!(server.findings().len(), all);
    table.noted(&format!("first push of {all} findings to NATS JetStream"), Figure::Time(push.took));
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    table.noted("  each stored and acknowledged", Figure::Rate(all as f64 / push.took.as_secs_f64()));
    table.limited("  the gateway's peak memory", Figure::Bytes(push.peak), Figure::Bytes(64 * MIB));
    drop(gateway.stop());
}

/// One push: its time, and the gateway's peak memory.
struct Push {
    took: Duration,
    peak: u64,
}

/// Adds a destination to a gateway that was started anew, so that its peak is that of the push.
fn pushed(gateway: Gateway, add: &[&str], secret: &str) -> (Gateway, Push) {
    let gateway = gateway.restart(Gateway::stop);
    let begin = Instant::now();
    gateway.json_with(&[&["destination", "add"][..], add, &["--token-file", "-"]].concat(), secret);
    let path = format!("destinations/{}", add[1]);
    wait("the push", || {
        let shown = api::get(&gateway.state(), &path);
        assert_eq!(shown["dead_letters"], 0, "{shown}");
        shown["state"] == "up_to_date"
    });
    let push = Push { took: begin.elapsed(), peak: memory(gateway.id(), "VmHWM") };
    (gateway, push)
}

impl Push {
    fn enter(&self, table: &mut Table, name: &str, findings: usize, (requests, most): (usize, usize), of: &str) {
        table.noted(&format!("first push of {findings} findings to {name}"), Figure::Time(self.took));
        table.limited(
            &format!("  its requests; limit: {of}"),
            Figure::Count(requests as u64),
            Figure::Count(most as u64),
        );
        #[allow(clippy::cast_precision_loss, reason = "some thousands")]
        let each = requests as f64 / findings as f64;
        table.noted("  requests for a finding", Figure::Ratio(each));
        table.limited("  the gateway's peak memory", Figure::Bytes(self.peak), Figure::Bytes(64 * MIB));
    }
}
