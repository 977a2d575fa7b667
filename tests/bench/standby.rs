//! A second box for a site: how long it takes until it holds all that the first one does, and what that costs both and the server.

use std::time::{Duration, Instant};

use crate::nats::Server;
use crate::process::{forget_peak, memory};
use crate::support::api;
use crate::support::gateway::Gateway;
use crate::table::{Figure, Table};
use crate::{MIB, wait_for};

/// A line of the server's configuration for both boxes.
pub(crate) const USER: &str = "{ user: pair, password: pair-secret }";

/// See the module. The first box works on with what it holds.
pub(crate) fn measure(server: &Server, first: &Gateway, table: &mut Table) {
    let folder = tempfile::tempdir().expect("there is room");
    let key = folder.path().join("pair.key").to_str().expect("it is text").to_owned();
    assert_eq!(first.cli(&["standby", "key", &key]).code, 0);
    let url = server.url();
    let line = ["standby", "join", "--url", &url, "--site", "berlin", "--credentials", "-", "--key", &key];
    forget_peak(first.id());
    first.json_with(&line, "pair:pair-secret");
    wait_for(Duration::from_mins(1), "the first box to work", || standing(first)["role"] == "works");
    let second = Gateway::start();
    let begin = Instant::now();
    second.json_with(&line, "pair:pair-secret");
    wait_for(Duration::from_mins(30), "the copy", || {
        // Looking is work, too.
        std::thread::sleep(Duration::from_millis(200));
        let standing = standing(&second);
        standing["copied"].is_string() && standing["current"] == true
    });
    table.noted("a second box has a copy of it all after", Figure::Time(begin.elapsed()));
    let limit = || Figure::Bytes(64 * MIB);
    table.limited("  the first one's peak memory meanwhile", Figure::Bytes(memory(first.id(), "VmHWM")), limit());
    table.limited("  the second one's", Figure::Bytes(memory(second.id(), "VmHWM")), limit());
    let bytes = server.ask(async |context| {
        let bucket = context.get_stream("KV_HYDROPHONE_STANDBY").await.expect("it is there");
        bucket.cached_info().state.bytes
    });
    table.noted("  the copy on the server", Figure::Bytes(bytes));
    let total = |gateway: &Gateway| api::get(&gateway.state(), "findings?limit=1")["total"].clone();
    assert_eq!(total(first), total(&second));
    drop(second.stop());
}

fn standing(gateway: &Gateway) -> serde_json::Value {
    api::get(&gateway.state(), "standby")
}
