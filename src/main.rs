//! Parses the command line, dispatches it and gives the exit code.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use hydrophone::cli::serve::LogFormat;
use hydrophone::cli::{self, Cli};
use hydrophone::daemon::{self, Options};

fn main() -> ExitCode {
    cli::run(Cli::parse(), |flags, paths| {
        daemon::serve(&Options {
            state: &paths.state,
            socket: &paths.socket,
            webhook_listen: flags.webhook_listen.unwrap_or(WEBHOOK_LISTEN),
            webhook_plain: flags.webhook_plain,
            public_url: flags.public_url,
            log_json: flags.log_format == Some(LogFormat::Json),
        })
    })
}

/// Every address of the box, as Sonar comes from outside.
const WEBHOOK_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);
