//! Runs the real gateway, as a process of its own, and speaks to it as its users do: by command line and webhook.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that should take a moment.
pub const SOON: Duration = Duration::from_secs(30);

/// A gateway that runs. It is killed when dropped.
pub struct Gateway {
    folder: Arc<tempfile::TempDir>,
    child: Child,
    log: Arc<Log>,
    address: String,
    flags: Vec<String>,
    clock: Vec<(OsString, OsString)>,
}

/// What chooses the log's lines.
const LOG_FILTER: &str = "HYDROPHONE_LOG";

/// What the gateway wrote to stderr.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
}

impl Log {
    /// Waits for a line that holds a text, or for the end of the log.
    fn wait_for(&self, text: &str) -> Option<String> {
        let lines = self.lines.lock().expect("no reader panics");
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        let (lines, _) = self
            .grown
            .wait_timeout_while(lines, SOON, |(lines, ended)| find(lines).is_none() && !*ended)
            .expect("no reader panics");
        find(&lines.0)
    }
}

/// What a command line printed.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
}

/// The program under test: the one that `HYDROPHONE_BINARY` names, such as a static one, started by `HYDROPHONE_RUNNER`
/// where it is for another processor; else the one that was built with the tests. An example cannot have it built beside
/// it, so it is the program itself when its first argument is [`AS_HYDROPHONE`].
pub fn program() -> Command {
    if let Some(binary) = std::env::var_os("HYDROPHONE_BINARY") {
        let Some(runner) = std::env::var_os("HYDROPHONE_RUNNER") else { return Command::new(binary) };
        let mut command = Command::new(runner);
        command.arg(binary);
        return command;
    }
    if let Some(program) = option_env!("CARGO_BIN_EXE_hydrophone") {
        return Command::new(program);
    }
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg(AS_HYDROPHONE);
    command
}

/// See [`program`].
pub const AS_HYDROPHONE: &str = "as-hydrophone";

/// What gives a command another time of day than the system's (`tests/fleet/wall.rs`).
fn clock_of(command: &Command) -> Vec<(OsString, OsString)> {
    let is_clock = |name: &str| name == "LD_PRELOAD" || name.starts_with("FAKETIME_");
    let of_clock = command.get_envs().filter(|(name, _)| name.to_str().is_some_and(is_clock));
    of_clock.filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}

/// Runs a command line to its end, with this on its stdin.
pub fn run(command: &mut Command, input: &str) -> Said {
    use std::io::Write;
    let mut child = command
        .env_remove("HYDROPHONE_STATE")
        .env_remove("HYDROPHONE_SOCKET")
        .env_remove("STATE_DIRECTORY")
        .env_remove("RUNTIME_DIRECTORY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that does not read its stdin closes it; that is no failure of the test.
    let _ = child.stdin.take().expect("stdin is a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the program ends");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Gateway {
    /// Starts a gateway with TLS in a new folder.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a gateway in a new folder with more flags for `serve`.
    pub fn start_with(flags: &[&str]) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        Self::start_in(folder, flags).unwrap_or_else(|log| panic!("the gateway does not start:\n{log}"))
    }

    /// Starts a gateway in a new folder that logs what this filter lets through.
    pub fn start_logging(filter: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let mut command = program();
        command.env(LOG_FILTER, filter);
        Self::start_as(command, folder, &[], [Stdio::null(), Stdio::null()])
            .unwrap_or_else(|log| panic!("the gateway does not start:\n{log}"))
    }

    /// Starts a gateway in a folder; without success, returns what it logged.
    pub fn start_in(folder: Arc<tempfile::TempDir>, flags: &[&str]) -> Result<Self, String> {
        let mut command = program();
        command.env_remove(LOG_FILTER);
        Self::start_as(command, folder, flags, [Stdio::null(), Stdio::null()])
    }

    /// Starts a gateway in a folder, with credentials as the service manager hands them over.
    pub fn start_credited(folder: Arc<tempfile::TempDir>, credentials: &Path) -> Result<Self, String> {
        let mut command = program();
        command.env("CREDENTIALS_DIRECTORY", credentials);
        Self::start_as(command, folder, &[], [Stdio::null(), Stdio::null()])
    }

    /// Starts a gateway by a command to which its arguments are added, with these as stdin and stdout; without success,
    /// returns what it logged.
    pub fn start_as(
        mut command: Command,
        folder: Arc<tempfile::TempDir>,
        flags: &[&str],
        [stdin, stdout]: [Stdio; 2],
    ) -> Result<Self, String> {
        let clock = clock_of(&command);
        command.arg("serve").arg("--state").arg(folder.path().join("state"));
        if !flags.contains(&"--webhook-listen") {
            command.args(["--webhook-listen", "127.0.0.1:0"]);
        }
        if !flags.contains(&"--admin-listen") {
            command.args(["--admin-listen", "off"]);
        }
        let mut child = command
            .args(flags)
            .env_remove("HYDROPHONE_SOCKET")
            .env_remove("STATE_DIRECTORY")
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("CONFIGURATION_DIRECTORY")
            .env_remove("NOTIFY_SOCKET")
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    log.lines.lock().expect("no reader panics").0.push(line);
                    log.grown.notify_all();
                }
                log.lines.lock().expect("no reader panics").1 = true;
                log.grown.notify_all();
            }
        });
        let Some(_) = log.wait_for("admin socket ") else {
            let _ = child.wait();
            return Err(log.lines.lock().expect("no reader panics").0.join("\n"));
        };
        let line = log.wait_for("takes ").expect("it comes before the admin socket");
        let address = line.split("takes webhooks on ").nth(1).unwrap_or_default().trim().to_owned();
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Ok(Self { folder, child, log, address, flags, clock })
    }

    /// Where webhooks are taken, such as `https://127.0.0.1:40001`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The folder that holds state and socket.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A folder for files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it logged up to now.
    pub fn log(&self) -> String {
        self.log.lines.lock().expect("no reader panics").0.join("\n")
    }

    /// Waits until it logged a text.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.log.wait_for(text).unwrap_or_else(|| panic!("{text:?} was not logged:\n{}", self.log()))
    }

    /// Runs a command against it.
    pub fn cli(&self, arguments: &[&str]) -> Said {
        self.cli_with(arguments, "")
    }

    /// Runs a command with this on its stdin.
    pub fn cli_with(&self, arguments: &[&str], input: &str) -> Said {
        run(self.command().args(arguments), input)
    }

    /// Its command line, by the same clock, as it is on the same machine.
    fn command(&self) -> Command {
        let mut command = program();
        command.arg("--state").arg(self.state()).envs(self.clock.iter().cloned());
        command
    }

    /// Runs a command that has to succeed, and returns its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.json_with(arguments, "")
    }

    /// As [`json`](Self::json), with this on its stdin.
    pub fn json_with(&self, arguments: &[&str], input: &str) -> Value {
        let said = run(self.command().arg("--json").args(arguments), input);
        assert_eq!(said.code, 0, "{arguments:?} failed: {} {}\n{}", said.out, said.err, self.log());
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said.out))
    }

    /// Runs a command that has to fail, and returns what it told the person.
    pub fn refused(&self, arguments: &[&str], input: &str) -> String {
        let said = self.cli_with(arguments, input);
        assert_eq!(said.code, 1, "{arguments:?} was not refused: {} {}", said.out, said.err);
        said.err
    }

    /// Asks until the answer fits, and returns it.
    pub fn wait<T>(&self, what: &str, ask: impl FnMut(&Self) -> Option<T>) -> T {
        self.wait_for(SOON, what, ask)
    }

    /// As [`wait`](Self::wait), with a patience of one's own.
    pub fn wait_for<T>(&self, patience: Duration, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + patience;
        loop {
            if let Some(found) = ask(self) {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain for {what}:\n{}", self.log());
            // The command line has no event to wait for; each question takes a process and a moment anyway.
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Has it read anew what can be, as `systemctl reload` does.
    pub fn reload(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Asks it to end, as the service manager would, and waits until it has begun to.
    pub fn begin_stop(&self) {
        self.signal(rustix::process::Signal::TERM);
        self.wait("it to stop", |gateway| gateway.log().contains("stopping").then_some(()));
    }

    /// Ends it as the service manager would.
    pub fn stop(mut self) -> Arc<tempfile::TempDir> {
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "it ended with {status}:\n{}", self.log());
        Arc::clone(&self.folder)
    }

    /// Ends it as a fault does that the system writes a core for.
    pub fn aborted(mut self) -> std::process::ExitStatus {
        self.signal(rustix::process::Signal::ABORT);
        self.child.wait().expect("it ends")
    }

    /// Ends it as a power cut would, but for what the kernel still holds.
    pub fn kill(mut self) -> Arc<tempfile::TempDir> {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        Arc::clone(&self.folder)
    }

    /// Waits until it ends by itself; its exit code.
    pub fn ended(mut self) -> (Option<i32>, Arc<tempfile::TempDir>) {
        let end = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return (status.code(), Arc::clone(&self.folder));
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    /// Starts it anew in the same folder, on the same port, with the same flags.
    pub fn restart(self, how: fn(Self) -> Arc<tempfile::TempDir>) -> Self {
        let address = self.address.split("://").nth(1).unwrap_or_default().to_owned();
        let flags = self.flags.clone();
        let folder = how(self);
        let mut again: Vec<&str> = flags.iter().map(String::as_str).collect();
        if !again.contains(&"--webhook-listen") {
            again.extend(["--webhook-listen", address.as_str()]);
        }
        Self::start_in(folder, &again).unwrap_or_else(|log| panic!("the gateway does not start again:\n{log}"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
