//! The flags of `serve`. What they do is the daemon's; a flag that was given wins over the stored setting for that
//! run, so each of them can tell whether it was given.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

use super::{Paths, config};
use crate::daemon::{self, Options};
use crate::sys::lists::ListFile;
use crate::sys::shown::Files;

/// Run the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(after_help = "Set HYDROPHONE_LOG to choose what is logged, such as `info,hydrophone=debug`.\n\n\
    Example: try it without installing\n  hydrophone serve --state ./state\n\
    and in another terminal\n  hydrophone --state ./state source add --help\n\n\
     Sockets that systemd passes (named webhook, admin-tls, admin-local, acme-http) win over the listeners' addresses and the \
     admin socket's path. SIGHUP reads the certificate, the system's certificate authorities, the networks, the clients' \
     authorities and the log's level anew.\n\n\
    Exit codes: 0 stopped, 1 failed, 2 wrong usage, 70 a fault of hydrophone, 78 a person has to change something.")]
pub struct Serve {
    /// Take webhooks at this address, or `off` to take none and only poll [default: 0.0.0.0:8443].
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub webhook_listen: Option<Listen>,
    /// Serve the page and the API at this address, or `off` to serve them on the socket alone [default: 127.0.0.1:8444].
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub admin_listen: Option<Listen>,
    /// Take webhooks without TLS, for use behind a proxy or tunnel.
    #[arg(long)]
    pub webhook_plain: bool,
    /// Name this address to Sonar as the webhooks' own.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Show this certificate on both listeners, PEM with its chain [default: tls.crt in $CONFIGURATION_DIRECTORY, if there].
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM [default: tls.key in $CONFIGURATION_DIRECTORY, if there].
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Take webhooks from these networks alone, one a line, or only log others: see the setting webhook-networks-mode
    /// [default: webhook-networks in $CONFIGURATION_DIRECTORY, if there].
    #[arg(long, value_name = "FILE")]
    pub webhook_networks: Option<PathBuf>,
    /// Serve the page and the API over the network only to clients that show a certificate of one of these authorities, PEM;
    /// they log in as well [default: admin-client-ca.crt in $CONFIGURATION_DIRECTORY, if there].
    #[arg(long, value_name = "FILE")]
    pub admin_client_ca: Option<PathBuf>,
    /// Answer an ACME server's http-01 at this address, in plain HTTP and nothing else; the server asks at port 80.
    #[arg(long, value_name = "ADDR")]
    pub acme_http_listen: Option<SocketAddr>,
    /// Rename a damaged database and begin a new one; looks at every page, so the start takes longer. Changes nothing where
    /// the database is whole.
    #[arg(long, env = "HYDROPHONE_SET_DAMAGED_ASIDE", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub set_damaged_aside: bool,
    /// Write logs in this form [default: text].
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

impl Serve {
    /// Runs the daemon until it is told to stop.
    pub(super) fn run(self, paths: &Paths) -> ExitCode {
        daemon::serve(&Options {
            state: &paths.state,
            socket: &paths.socket,
            webhook_listen: match self.webhook_listen {
                Some(Listen::Off) => None,
                Some(Listen::At(address)) => Some(address),
                None => Some(WEBHOOK_LISTEN),
            },
            admin_listen: match self.admin_listen {
                Some(Listen::Off) => None,
                Some(Listen::At(address)) => Some(address),
                None => Some(ADMIN_LISTEN),
            },
            webhook_plain: self.webhook_plain,
            public_url: self.public_url,
            set_damaged_aside: self.set_damaged_aside,
            networks: list(self.webhook_networks, "webhook-networks", |name| std::env::var_os(name)),
            clients: list(self.admin_client_ca, "admin-client-ca.crt", |name| std::env::var_os(name)),
            certificate: certificate(self.tls_cert.zip(self.tls_key), |name| std::env::var_os(name)),
            acme_http_listen: self.acme_http_listen,
            log_json: self.log_format == Some(LogFormat::Json),
            carried_out: config::carried_out(&paths.socket, secrets(|name| std::env::var_os(name))),
        })
    }
}

/// The files of a certificate that were asked for, or where systemd says that configuration lies.
fn certificate(asked_for: Option<(PathBuf, PathBuf)>, environment: impl Fn(&str) -> Option<OsString>) -> Option<Files> {
    if let Some((certificate, key)) = asked_for {
        return Some(Files { certificate, key, asked_for: true });
    }
    let folder = super::first_folder(&environment("CONFIGURATION_DIRECTORY")?)?;
    Some(Files { certificate: folder.join("tls.crt"), key: folder.join("tls.key"), asked_for: false })
}

/// Where whoever sets the box up puts secrets that a configuration of the fleet may name.
fn secrets(environment: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let folder = environment("CONFIGURATION_DIRECTORY").and_then(|folders| super::first_folder(&folders));
    folder.unwrap_or_else(|| PathBuf::from("/etc/hydrophone")).join("credentials")
}

/// A file that was asked for, or where systemd says that configuration lies.
fn list(asked_for: Option<PathBuf>, name: &str, environment: fn(&str) -> Option<OsString>) -> Option<ListFile> {
    if let Some(path) = asked_for {
        return Some(ListFile { path, asked_for: true });
    }
    let folder = super::first_folder(&environment("CONFIGURATION_DIRECTORY")?)?;
    Some(ListFile { path: folder.join(name), asked_for: false })
}

/// Where something is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Here.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

fn listen(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    text.parse().map(Listen::At).map_err(|error: std::net::AddrParseError| format!("{error}, and not `off`"))
}

/// Every address of the box, as Sonar comes from outside.
const WEBHOOK_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);

/// This machine alone, until somebody opens it.
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8444);

/// The form of the logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
