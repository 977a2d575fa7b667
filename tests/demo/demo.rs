//! Shows the main job between a simulated SonarQube Cloud and the real gateway: connect, import, and a signed webhook
//! over TLS that becomes a synced inventory. It stays up for a look around until Ctrl-C; with `--once` it ends after
//! the show. Every step is checked, so that it ends with an error where a person would be shown something wrong.

#[path = "../support/mod.rs"]
mod support;

mod model;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use hydrophone::cli::{self, Cli};
use rustix::process::{Pid, Signal, WaitOptions};
use serde_json::Value;

use model::{EXPECTED, ORGANIZATION, SHOP};
use support::gateway::{AS_HYDROPHONE, Gateway, SOON, program};
use support::sonar::{Mode, Sonar};
use support::{api, findings, hook_up};

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == AS_HYDROPHONE) {
        arguments[0] = "hydrophone".into();
        return cli::run(Cli::parse_from(arguments));
    }
    match arguments.iter().map(|argument| argument.to_str()).collect::<Vec<_>>().as_slice() {
        [] => show_until_told(false),
        [Some("--once")] => show_until_told(true),
        [Some("--set-up")] => set_up(),
        _ => {
            eprintln!(
                "usage: demo [--once | --set-up]\n\n  --once    end after the show instead of waiting for Ctrl-C\n  \
                 --set-up  start an empty gateway beside a simulated SonarQube Server, to set it up on the page"
            );
            ExitCode::from(2)
        }
    }
}

/// What has to be taken away if the show is interrupted.
type Traces = Arc<Mutex<Option<(Pid, PathBuf)>>>;

fn show_until_told(once: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads start");
    let traces = Traces::default();
    let (done, shown) = tokio::sync::oneshot::channel();
    std::thread::spawn({
        let traces = Arc::clone(&traces);
        move || {
            // A show that panics drops its end, and has said what went wrong.
            let _ = done.send(show(&traces));
        }
    });
    runtime.block_on(async {
        let stage = tokio::select! {
            stage = shown => stage,
            () = told_to_stop() => {
                take_away(&traces);
                return ExitCode::from(130);
            }
        };
        let (gateway, sonar) = match stage {
            Ok(Ok(stage)) => stage,
            Ok(Err(problem)) => {
                eprintln!("\nnot as expected: {problem}");
                return ExitCode::FAILURE;
            }
            Err(_) => return ExitCode::FAILURE,
        };
        if once {
            say("\nAll as expected.");
        } else {
            look_around(&gateway, &sonar);
            told_to_stop().await;
            say("\nStopped; the temporary folder is gone.");
        }
        drop(gateway.stop());
        ExitCode::SUCCESS
    })
}

/// An empty gateway and a simulated SonarQube Server, for whoever wants to connect them on the page.
fn set_up() -> ExitCode {
    let sonar = Sonar::start(Mode::Server { version: "2026.3.0.1", mqr: true });
    sonar.edit(model::before);
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    support::trust(&gateway, &sonar);
    let invited = gateway.json(&["user", "add", "demo", "--role", "admin"]);
    title("Set it up yourself");
    say(
        "The page, where you choose a password (its certificate is made by the box itself, so that the browser asks first):\n",
    );
    say(&format!("  {}\n", invited["link"].as_str().unwrap_or_default()));
    say("What it asks for:\n");
    line("SonarQube Server", &sonar.url());
    line("Token", sonar.admin_token());
    line("Public address", gateway.address());
    say("\nWith each Enter here, an analysis of the web shop ends in SonarQube. Ctrl-C ends it all.");
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            sonar.analyse(SHOP, "main", |_| {});
            say("An analysis of the web shop has ended.");
        }
        // The simulation is there for as long as this thread is.
        loop {
            std::thread::park();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads start");
    runtime.block_on(told_to_stop());
    drop(gateway.stop());
    ExitCode::SUCCESS
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("the system has signals");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the system has signals");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn take_away(traces: &Traces) {
    let Some((gateway, folder)) = traces.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    // It may have ended by itself: a terminal's Ctrl-C reaches it too.
    let _ = rustix::process::kill_process(gateway, Signal::TERM);
    let _ = rustix::process::waitpid(Some(gateway), WaitOptions::empty());
    let _ = std::fs::remove_dir_all(folder);
}

/// The show. Returns what it leaves running.
fn show(traces: &Traces) -> Result<(Gateway, Sonar), String> {
    title("Start");
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(model::before);
    let folder = tempfile::Builder::new().prefix("hydrophone-demo-").tempdir().map_err(|error| error.to_string())?;
    let gateway = Gateway::start_in(Arc::new(folder), &["--admin-listen", "127.0.0.1:0"])?;
    let pid = i32::try_from(gateway.id()).ok().and_then(Pid::from_raw).expect("a process has a number");
    *traces.lock().unwrap_or_else(PoisonError::into_inner) = Some((pid, gateway.folder().to_owned()));
    line("SonarQube Cloud", &format!("{}  (simulated, organization {ORGANIZATION})", sonar.url()));
    line("Hydrophone", &format!("{}  (takes webhooks over TLS)", gateway.address()));
    line("State folder", &gateway.state().display().to_string());

    title("Connect SonarQube Cloud");
    let token = gateway.folder().join("token.txt");
    write_private(&token, sonar.token()).map_err(|error| error.to_string())?;
    let token = token.to_str().ok_or("the temporary folder's name is no text")?;
    let (url, api_url) = (sonar.url(), sonar.api_url());
    hydrophone(
        &gateway,
        "source add sonar --cloud --token-file token.txt",
        &["source", "add", "sonar", "--cloud", "--token-file", token, "--url", &url, "--api-url", &api_url],
    )?;

    title("Import all projects");
    plain(&gateway, "project import acme --all --wait")?;
    expect("requests to SonarQube were refused", sonar.requests().iter().all(|call| call.status == 200))?;

    title("Connect SonarQube's webhook");
    plain(&gateway, &format!("config set public-url {}", gateway.address()))?;
    plain(&gateway, "webhook show acme")?;
    hook_up(&gateway, &sonar, ORGANIZATION);
    say("Address and secret are entered in the simulated SonarQube, which now trusts the gateway's certificate.");

    title("The web shop before the analysis");
    plain(&gateway, "finding list --project web-shop")?;
    let before = states(&gateway);

    title("An analysis of the web shop ends, and SonarQube calls the webhook");
    let mut sent = Instant::now();
    sonar.analyse(SHOP, "main", |analysis| {
        model::analysis(analysis);
        sent = Instant::now();
    });
    let updated = wait_for_sync(&gateway, sent)?;
    let delivered = sonar.wait_deliveries(1).remove(0);
    expect(&format!("the webhook was not accepted: {delivered:?}"), delivered.status == Some(202))?;
    line("Webhook", &format!("{} bytes, signed with HMAC-SHA256, over TLS", delivered.body.len()));
    line("Answered", &format!("202 after {}, once it was synced to disk", milliseconds(delivered.duration)));
    line("Inventory", &format!("in step {} after the webhook was sent", milliseconds(updated)));

    title("What changed");
    let after = states(&gateway);
    check_changes(&before, &after)?;

    title("The web shop after the analysis");
    plain(&gateway, "finding list --project web-shop")?;

    title("The story of one finding");
    let fixed = findings(&gateway, &["--project", SHOP, "--state", "fixed", "--search", "OrderDao"]);
    let id = fixed.first().and_then(|finding| finding["id"].as_str()).ok_or("the fixed finding is not listed")?;
    plain(&gateway, &format!("finding show {id}"))?;

    title("The gateway's health");
    plain(&gateway, "status")?;
    let conditions = &api::get(&gateway.state(), "status")["conditions"];
    expect(&format!("there are conditions: {conditions}"), conditions.as_array().is_some_and(Vec::is_empty))?;
    Ok((gateway, sonar))
}

/// Writes a file that only this user may read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// The web shop's findings by path: state, severity and title.
type States = BTreeMap<String, (String, String, String)>;

fn states(gateway: &Gateway) -> States {
    let text = |finding: &Value, member: &str| finding[member].as_str().unwrap_or_default().to_owned();
    findings(gateway, &["--project", SHOP, "--state", "open,confirmed,accepted,false_positive,fixed,removed"])
        .iter()
        .map(|finding| {
            (text(finding, "path"), (text(finding, "state"), text(finding, "severity"), text(finding, "title")))
        })
        .collect()
}

/// Waits for the webhook's delivery to be settled, and says how long that took since it was sent.
fn wait_for_sync(gateway: &Gateway, sent: Instant) -> Result<Duration, String> {
    loop {
        let deliveries = api::get(&gateway.state(), "deliveries?limit=1");
        if deliveries["deliveries"][0]["outcome"] == "synced" {
            return Ok(sent.elapsed());
        }
        if sent.elapsed() > SOON {
            return Err(format!("the webhook changed nothing: {deliveries}\n{}", gateway.log()));
        }
        std::thread::yield_now();
    }
}

fn check_changes(before: &States, after: &States) -> Result<(), String> {
    let mut changes = Vec::new();
    for (path, (state, severity, title)) in after {
        let former = before.get(path).map_or("-", |(state, ..)| state.as_str());
        if former != state {
            say(&format!("{former:<5}-> {state:<9} {severity:<9} {path}\n{:28}{title}", ""));
            changes.push((path.as_str(), former, state.as_str()));
        }
    }
    expect(&format!("other changes were expected: {changes:?}"), changes == EXPECTED)?;
    let same = after.len() - changes.len();
    say(&format!("{same} others stayed as they were."));
    Ok(())
}

fn look_around(gateway: &Gateway, sonar: &Sonar) {
    title("Look around");
    let program = std::env::current_exe().unwrap_or_else(|_| "demo".into());
    let invited = gateway.json(&["user", "add", "demo", "--role", "admin"]);
    say(
        "Both stay up until Ctrl-C. The page, where you choose a password (its certificate is made by the box itself, so that",
    );
    say("the browser asks before it shows it):\n");
    say(&format!("  {}\n", invited["link"].as_str().unwrap_or_default()));
    say("In another terminal:\n");
    say(&format!("alias hydrophone='{} {AS_HYDROPHONE}'", program.display()));
    say(&format!("export HYDROPHONE_STATE='{}'\n", gateway.state().display()));
    for (command, about) in [
        ("status", "health on one screen"),
        ("project list acme", "what the token sees"),
        ("finding list --severity critical --search xss", "the inventory"),
        ("delivery list", "webhooks that came in"),
        ("webhook show acme --reveal", "address and secret for SonarQube"),
        ("sync acme web-shop --wait", "read SonarQube now"),
        ("export --help", "the inventory as a file"),
    ] {
        say(&format!("hydrophone {command:<48}# {about}"));
    }
    say(&format!(
        "curl -H 'Authorization: Bearer {}' \\\n  '{}/api/authentication/validate'",
        sonar.token(),
        sonar.url()
    ));
    say("\nThe same without this demonstration's program, once it is built:\n");
    say("cargo run -q --bin hydrophone -- status");
}

/// Runs a command that has no other arguments than those shown.
fn plain(gateway: &Gateway, shown: &str) -> Result<(), String> {
    hydrophone(gateway, shown, &shown.split(' ').collect::<Vec<_>>())
}

/// Shows a command and lets it print its answer.
fn hydrophone(gateway: &Gateway, shown: &str, arguments: &[&str]) -> Result<(), String> {
    say(&format!("$ hydrophone {shown}"));
    let status = program()
        .arg("--state")
        .arg(gateway.state())
        .args(arguments)
        .env_remove("HYDROPHONE_SOCKET")
        .status()
        .map_err(|error| error.to_string())?;
    expect(&format!("`hydrophone {shown}` failed:\n{}", gateway.log()), status.success())
}

fn expect(problem: &str, is_well: bool) -> Result<(), String> {
    if is_well { Ok(()) } else { Err(problem.to_owned()) }
}

fn title(text: &str) {
    let (bold, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    say(&format!("\n{bold}{text}{plain}\n{}", "-".repeat(text.len())));
}

fn line(label: &str, text: &str) {
    say(&format!("{:<17}{text}", format!("{label}:")));
}

/// Prints at once, so that the order holds between our lines and those of the commands.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more; the show still ends as it should.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
