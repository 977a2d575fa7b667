//! The command line: one file per subcommand. Each asks the running daemon over its socket and shows the answer, as
//! JSON or for people. What the daemon does is none of this module's business: `serve`
//! hands over to it.

pub mod asset;
pub mod audit;
pub mod backup;
pub mod certificate;
pub mod client;
pub mod completions;
pub mod config;
pub mod delivery;
pub mod destination;
pub mod doctor;
pub mod export;
pub mod finding;
pub mod fleet;
pub mod key;
pub mod organization;
pub mod pages;
pub mod pem;
pub mod project;
pub mod proxy;
pub mod secret;
pub mod serve;
pub mod source;
mod standby;
pub mod status;
pub mod sync;
pub mod table;
pub mod token;
pub mod user;
pub mod wait;
pub mod webhook;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use client::{Answer, Client, Failure};
use table::Output;

/// Keep a security inventory in step with SonarQube.
#[derive(Debug, Parser)]
#[command(name = "hydrophone", version, max_term_width = 110)]
#[command(after_help = "Begin with `hydrophone source add --help`. Exit codes: 0 done, 1 failed, 2 wrong usage.")]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Print the API's answer as one JSON document.
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Use this admin socket.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "HYDROPHONE_SOCKET",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub socket: Option<PathBuf>,
    /// Use this state folder.
    // Lists of findings have a `--state` of their own; there, `Filters` takes this flag's place by its id.
    #[arg(
        id = "state_folder",
        long = "state",
        global = true,
        value_name = "DIR",
        env = "HYDROPHONE_STATE",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub state: Option<PathBuf>,
}

/// What the command line can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Serve(serve::Serve),
    /// Show the gateway's health on one screen.
    Status(status::Show),
    /// Look at everything that has to work, and say what helps where it does not.
    Doctor(doctor::Doctor),
    /// Connect SonarQube Cloud or a SonarQube Server.
    #[command(subcommand)]
    Source(source::Command),
    /// List the organizations that the tokens see, and choose what of them is shown and passed on.
    #[command(subcommand)]
    Organization(organization::Command),
    /// Choose the projects to keep in step.
    #[command(subcommand)]
    Project(project::Command),
    /// Group projects into what the security team manages.
    #[command(subcommand)]
    Asset(asset::Command),
    /// Have Sonar call this box: show what to paste, register, rotate, test.
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Look into the log of webhook calls.
    #[command(subcommand)]
    Delivery(delivery::Command),
    /// Pass findings on to the platforms where they are worked on.
    #[command(subcommand)]
    Destination(destination::Command),
    /// Look at the sites that this box gathers.
    #[command(subcommand)]
    Fleet(fleet::Command),
    /// Have a second box stand by for this one.
    #[command(subcommand)]
    Standby(standby::Command),
    /// Read Sonar now.
    Sync(sync::Sync),
    /// Look into the inventory.
    #[command(subcommand)]
    Finding(finding::Command),
    /// Write the inventory to a file.
    Export(export::Export),
    /// Show and change settings, and carry a whole set-up from box to box.
    #[command(subcommand)]
    Config(config::Command),
    /// Say who may use the page.
    #[command(subcommand)]
    User(user::Command),
    /// Let programs use the API.
    #[command(subcommand)]
    Token(token::Command),
    /// Show who changed what.
    Audit(audit::Audit),
    /// Show and exchange the certificate that the listeners show.
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Write everything that the gateway holds into one file.
    Backup(backup::Backup),
    /// Put a backup into the state folder of a gateway that is stopped.
    Restore(backup::Restore),
    /// Read every record and say what is damaged.
    Verify(backup::Verify),
    /// Show what secrets are sealed with, and seal them with another key.
    #[command(subcommand)]
    Key(key::Command),
    /// Print a shell's completion script.
    Completions(completions::Completions),
}

/// Where the daemon keeps its state and where it listens for commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The state folder.
    pub state: PathBuf,
    /// The admin socket.
    pub socket: PathBuf,
}

impl Paths {
    /// Decides from the flags (which hold their environment variables) and from what systemd sets.
    ///
    /// A state folder that was asked for brings its own socket, so that a trial beside an installed gateway neither
    /// takes that one's socket nor speaks to it.
    pub fn resolve(
        global: &Global,
        environment: impl Fn(&str) -> Option<OsString>,
        exists: impl Fn(&Path) -> bool,
    ) -> Self {
        let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let folder = |name| first_folder(&environment(name)?);
        let asked_state = given(&global.state);
        let state =
            asked_state.clone().or_else(|| folder("STATE_DIRECTORY")).unwrap_or_else(|| PathBuf::from(STATE_FOLDER));
        let system_socket = Path::new(RUNTIME_FOLDER).join(SOCKET_NAME);
        let socket = given(&global.socket)
            .or_else(|| folder("RUNTIME_DIRECTORY").map(|folder| folder.join(SOCKET_NAME)))
            .or_else(|| Some(system_socket).filter(|socket| asked_state.is_none() && exists(socket)))
            .unwrap_or_else(|| state.join(SOCKET_NAME));
        Self { state, socket }
    }

    fn of_process(global: &Global) -> Self {
        // A folder that may not be looked into is there all the same; connecting then says what is missing.
        let exists = |path: &Path| match path.try_exists() {
            Ok(exists) => exists,
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        };
        Self::resolve(global, |name| std::env::var_os(name), exists)
    }
}

/// systemd separates several folders by colons; ours is the first.
fn first_folder(value: &OsString) -> Option<PathBuf> {
    std::env::split_paths(value).next().filter(|folder| !folder.as_os_str().is_empty())
}

/// What a command works with.
pub struct Session {
    /// The way to the daemon.
    pub client: Client,
    /// Where the answer goes.
    pub out: Output,
    /// Where the daemon keeps its state, for what can be looked at without it.
    pub paths: Paths,
}

impl Session {
    /// Shows an answer: as it was sent, or the way `people` writes it.
    pub fn show<T>(
        &mut self,
        answer: &Answer<T>,
        people: impl FnOnce(&mut Output, &T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.out.json { self.out.document(&answer.document) } else { people(&mut self.out, &answer.value) }
    }
}

/// Carries out what was asked for. `serve` runs the daemon.
pub fn run(args: Cli) -> ExitCode {
    let paths = Paths::of_process(&args.global);
    let command = match args.command {
        Command::Serve(flags) => return flags.run(&paths),
        command => command,
    };
    let mut session = match Client::new(&paths.socket) {
        Ok(client) => Session { client, out: Output::stdout(args.global.json), paths },
        Err(failure) => return report(&failure, None),
    };
    let done = dispatch(command, &mut session).and_then(|()| session.out.flush());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, Some(&mut session.out)),
    }
}

fn dispatch(command: Command, session: &mut Session) -> Result<(), Failure> {
    match command {
        Command::Serve(_) => unreachable!("`run` hands serve on before a session is made"),
        Command::Status(command) => command.run(session),
        Command::Doctor(command) => command.run(session),
        Command::Source(command) => command.run(session),
        Command::Organization(command) => command.run(session),
        Command::Project(command) => command.run(session),
        Command::Asset(command) => command.run(session),
        Command::Webhook(command) => command.run(session),
        Command::Delivery(command) => command.run(session),
        Command::Destination(command) => command.run(session),
        Command::Fleet(command) => command.run(session),
        Command::Standby(command) => command.run(session),
        Command::Sync(command) => command.run(session),
        Command::Finding(command) => command.run(session),
        Command::Export(command) => command.run(session),
        Command::Config(command) => command.run(session),
        Command::User(command) => command.run(session),
        Command::Token(command) => command.run(session),
        Command::Audit(command) => command.run(session),
        Command::Certificate(command) => command.run(session),
        Command::Backup(command) => command.run(session),
        Command::Restore(command) => command.run(session),
        Command::Verify(command) => command.run(session),
        Command::Key(command) => command.run(session),
        Command::Completions(command) => command.run(session),
    }
}

/// Says what went wrong and what to do, and gives the exit code.
fn report(failure: &Failure, out: Option<&mut Output>) -> ExitCode {
    match failure {
        Failure::ReaderGone => return ExitCode::SUCCESS,
        Failure::Told => return ExitCode::FAILURE,
        _ => {}
    }
    if let (Some(out), Failure::Refused { document, .. }) = (out, failure)
        && out.json
    {
        // Standard error still tells what failed if standard output is gone.
        let _ = out.document(document).and_then(|()| out.flush());
    }
    note(&format!("error: {failure}"));
    if let Some(hint) = failure.hint() {
        note(&format!("hint: {hint}"));
    }
    ExitCode::FAILURE
}

/// A line for the person at the terminal, on standard error. There is nowhere to report to if that is closed.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", table::clean(text));
}

const STATE_FOLDER: &str = "/var/lib/hydrophone";
const RUNTIME_FOLDER: &str = "/run/hydrophone";
const SOCKET_NAME: &str = "admin.sock";

#[cfg(test)]
pub(in crate::cli) mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    /// Runs a command line against a daemon and gives what it printed, with how it ended.
    pub(in crate::cli) fn told(daemon: &client::tests::FakeDaemon, line: &[&str]) -> (String, Result<(), Failure>) {
        let args = Cli::try_parse_from(std::iter::once(&"hydrophone").chain(line)).unwrap();
        let shared = table::tests::Shared::default();
        let out = Output::to(Box::new(shared.clone()), args.global.json);
        let paths = Paths { state: daemon.socket().with_file_name("state"), socket: daemon.socket() };
        let mut session = Session { client: daemon.client(), out, paths };
        let done = dispatch(args.command, &mut session);
        (shared.text(), done)
    }

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        Cli::try_parse_from(format!("hydrophone {line}").split_whitespace()).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_says_what_it_does() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no text", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} of {}", argument.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    /// What is shown to be pasted must come out as it was written: longer lines are broken where they end the command.
    #[test]
    fn lines_to_be_pasted_fit_a_terminal() {
        use clap::CommandFactory;
        fn walk(command: &clap::Command, each: &mut impl FnMut(&str, &str)) {
            let texts = [command.get_after_help(), command.get_after_long_help(), command.get_long_about()];
            for text in texts.into_iter().flatten() {
                each(command.get_name(), &text.to_string());
            }
            command.get_subcommands().for_each(|one| walk(one, each));
        }
        let (mut seen, mut long) = (0, Vec::new());
        walk(&Cli::command(), &mut |name, text| {
            let is_command = |line: &&str| {
                let text = line.trim_start();
                line.starts_with("    --")
                    || ["hydrophone ", "sudo ", "keytool "].iter().any(|one| text.starts_with(one))
            };
            for line in text.lines().filter(|line| line.starts_with("  ")).filter(is_command) {
                seen += 1;
                long.extend((line.chars().count() > 78).then(|| format!("{name}: {line}")));
            }
        });
        assert!(long.is_empty(), "{}", long.join("\n"));
        assert!(seen > 30, "{seen} lines");
    }

    #[test]
    fn good_lines_are_taken() {
        let lines = [
            "serve",
            "serve --state s --socket x --webhook-listen [::]:9000 --webhook-plain --public-url https://a.example",
            "serve --log-format json",
            "status --json",
            "--json --socket x status",
            "source add eu --cloud --token-file t",
            "source add us --cloud --region us --url http://a --api-url http://b --token-file -",
            "source add own --server https://s.example --token-file t --ca-file c --proxy http://p --webhook-url http://w",
            "source add own --server https://s.example --token-file t --proxy-file p",
            "source list",
            "source check eu",
            "source token eu --token-file t",
            "source remove eu",
            "organization list --source eu",
            "project list eu/acme --search web",
            "project import acme --project a --project b --asset x --branch main --branch release/* --pull-requests --wait",
            "project import acme --all --new-asset x --wait --timeout 5",
            "project show acme a",
            "project remove acme a",
            "asset list",
            "asset add Shop --description text",
            "asset show Shop",
            "asset edit Shop --name Store",
            "asset remove Shop",
            "webhook show acme --project a --reveal",
            "webhook secret acme --project a --secret-file f",
            "delivery list --limit 3",
            "delivery show 1",
            "delivery replay 1",
            "sync",
            "sync acme a --full --wait --timeout 10",
            "finding list --organization o --project p --asset a --branch b --severity high --severity low --state fixed",
            "finding list --kind hotspot --search x --limit 5",
            "finding show 1",
            "export --format csv -o f",
            "export --format json --severity critical,high",
            "export --format sarif --project p --branch b --suppressions off --repository https://r --revision 1",
            "config show",
            "config set public-url https://a.example",
            "user list",
            "user add ines --role admin --password-file -",
            "user role ines viewer",
            "user passwd ines",
            "user remove ines",
            "token list",
            "token add prometheus --role viewer --days 90",
            "token remove prometheus",
            "audit --limit 5 --before 7",
            "certificate show --pem",
            "certificate set --cert c --key -",
            "certificate self-signed",
            "certificate acme --domain a.example --domain b.example --agree-to-terms --directory https://ca --contact i@e \
             --ca-file c --proxy http://p --challenge http-01 --eab-id k --eab-key-file f",
            "certificate renew",
            "serve --acme-http-listen 127.0.0.1:8080",
            "backup f",
            "backup f --with-keys --passphrase-file -",
            "restore f --passphrase-file p",
            "restore f --without-keys",
            "verify",
            "verify f --json",
            "key show",
            "key rotate --json",
            "serve --admin-listen off",
            "completions bash",
        ];
        for line in lines {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn bad_lines_are_refused() {
        use ErrorKind::{ArgumentConflict, InvalidSubcommand, InvalidValue, MissingRequiredArgument, ValueValidation};
        let lines = [
            ("source add eu --token-file t", MissingRequiredArgument),
            ("source add eu --cloud", MissingRequiredArgument),
            ("source add eu --cloud --server http://s --token-file t", ArgumentConflict),
            ("source add eu --server http://s --region us --token-file t", ArgumentConflict),
            ("source add eu --server http://s --api-url http://b --token-file t", ArgumentConflict),
            ("source add eu --server http://s --url http://b --token-file t", ArgumentConflict),
            ("source add eu --cloud --region asia --token-file t", InvalidValue),
            ("project import acme", MissingRequiredArgument),
            ("project import acme --all --project a", ArgumentConflict),
            ("project import acme --all --asset a --new-asset b", ArgumentConflict),
            ("project import acme --all --timeout 5", MissingRequiredArgument),
            ("asset edit Shop", MissingRequiredArgument),
            ("finding list --severity severe", InvalidValue),
            ("finding list --limit 0", ValueValidation),
            ("export --format xml", InvalidValue),
            ("export", MissingRequiredArgument),
            ("serve --webhook-listen nowhere", ValueValidation),
            ("serve --log-format xml", InvalidValue),
            ("user add ines", MissingRequiredArgument),
            ("user add ines --role root", InvalidValue),
            ("token add t --role viewer --days 0", ValueValidation),
            ("webhook turn acme", InvalidSubcommand),
            ("physician", InvalidSubcommand),
            ("backup", MissingRequiredArgument),
            ("backup f --passphrase-file p", MissingRequiredArgument),
            ("restore f --without-keys --passphrase-file p", ArgumentConflict),
        ];
        for (line, kind) in lines {
            assert_eq!(parse(line).err(), Some(kind), "{line}");
        }
    }

    #[test]
    fn the_state_of_findings_is_not_the_state_folder() {
        let global = |line: &str| parse(line).unwrap().global.state;
        assert_eq!(global("finding list --state open"), None);
        for line in [
            "--state dir finding list --state open",
            "finding --state dir list --state open",
            "--state dir finding triage F1 --state open --comment c",
            "finding triage F1 --state open --comment c --state-folder dir",
            "--state dir export --format csv --state open",
            "export --format csv --state open --state-folder dir",
            "serve --state dir",
            "source list --state dir",
        ] {
            assert_eq!(global(line), Some(PathBuf::from("dir")), "{line}");
        }
        let Command::Export(export) = parse("--state dir export --format csv --state open").unwrap().command else {
            panic!("an export")
        };
        assert_eq!(export.filters.state, ["open"]);
    }

    fn resolved(global: &Global, environment: &[(&str, &str)], system_socket: bool) -> (String, String) {
        let lookup =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        let paths = Paths::resolve(global, lookup, |_| system_socket);
        (paths.state.display().to_string(), paths.socket.display().to_string())
    }

    #[test]
    fn paths_come_from_flags_then_systemd_then_the_defaults() {
        let pair = |state: &str, socket: &str| (state.to_owned(), socket.to_owned());
        let none = Global::default();
        let state = Global { state: Some("/s".into()), ..Global::default() };
        let socket = Global { socket: Some("/x".into()), ..Global::default() };
        let unit = [("STATE_DIRECTORY", "/var/lib/h:/other"), ("RUNTIME_DIRECTORY", "/run/h")];
        assert_eq!(resolved(&none, &[], false), pair("/var/lib/hydrophone", "/var/lib/hydrophone/admin.sock"));
        assert_eq!(resolved(&none, &[], true), pair("/var/lib/hydrophone", "/run/hydrophone/admin.sock"));
        assert_eq!(resolved(&none, &unit, true), pair("/var/lib/h", "/run/h/admin.sock"));
        assert_eq!(resolved(&state, &[], true), pair("/s", "/s/admin.sock"));
        assert_eq!(resolved(&state, &unit, true), pair("/s", "/run/h/admin.sock"));
        assert_eq!(resolved(&socket, &unit, true), pair("/var/lib/h", "/x"));
        assert_eq!(resolved(&none, &[("RUNTIME_DIRECTORY", "")], false).1, "/var/lib/hydrophone/admin.sock");
    }
}
