//! The way to another machine: its address, the proxy before it, and in words what stood in the way.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use super::trust::{BadAuthorities, Distrust};
use crate::domain::secret::SecretText;

/// Why a connection cannot be made from what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWay {
    /// The address.
    #[error("{given:?} is no address that can be used: {problem}; one looks like {example}")]
    Url {
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What a good one looks like.
        example: &'static str,
    },
    /// The file of authorities.
    #[error("the file of authorities {0}")]
    Authorities(#[from] BadAuthorities),
    /// The proxy. Its address is not shown, as it may hold a password.
    #[error("the proxy {from} {problem}; one looks like http://proxy.example:3128")]
    Proxy {
        /// Where it was given.
        from: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads an address. A path is taken, a query or a name with a password is not.
///
/// # Errors
/// If it is none.
pub fn address(given: &str) -> Result<Uri, BadWay> {
    const FORM: Form = Form {
        schemes: &["http", "https"],
        begins: "it has to begin with https:// or http://",
        example: "https://host.example or https://host.example/path",
    };
    FORM.read(given)
}

/// Reads the address of a server of NATS, which has no path.
///
/// # Errors
/// If it is none.
pub fn nats_address(given: &str) -> Result<Uri, BadWay> {
    const FORM: Form = Form {
        schemes: &["nats", "tls"],
        begins: "it has to begin with nats:// or tls://",
        example: "nats://host.example or tls://host.example:4222",
    };
    let uri = FORM.read(given)?;
    if !matches!(uri.path(), "" | "/") {
        return Err(FORM.bad(given, "it must not have a path"));
    }
    Ok(uri)
}

/// What an address of a kind looks like.
struct Form {
    schemes: &'static [&'static str],
    begins: &'static str,
    example: &'static str,
}

impl Form {
    fn bad(&self, given: &str, problem: &'static str) -> BadWay {
        // What stands before an @ may be a password.
        let shown = if given.contains('@') { "…" } else { given };
        BadWay::Url { given: shown.to_owned(), problem, example: self.example }
    }

    fn read(&self, given: &str) -> Result<Uri, BadWay> {
        let bad = |problem| self.bad(given, problem);
        let uri: Uri = given.trim().parse().map_err(|_| bad("it cannot be read"))?;
        if !uri.scheme_str().is_some_and(|scheme| self.schemes.contains(&scheme)) {
            return Err(bad(self.begins));
        }
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a name or password does not belong in it; secrets are given apart"));
        }
        if authority.host().is_empty() || authority.as_str().ends_with(':') {
            return Err(bad("it has no host, or no port after the colon"));
        }
        if uri.query().is_some() || given.contains('#') {
            return Err(bad("it must not have a part after ? or #"));
        }
        Ok(uri)
    }
}

/// The proxy that was given, else the environment's. A loopback address is never asked through the environment's
/// proxy, which could not know it.
///
/// # Errors
/// If it is none that can be used.
pub fn proxy(given: Option<&str>, target: &Uri) -> Result<Option<Proxy>, BadWay> {
    let (proxy, from) = match given {
        Some(given) => {
            let from = "that was given";
            let bad = BadWay::Proxy { from, problem: "has an address that cannot be read" };
            (Proxy::new(given.trim()).map_err(|_| bad)?, from)
        }
        None if is_loopback(target) => return Ok(None),
        None => match Proxy::try_from_env() {
            Some(proxy) => (proxy, "of the environment (ALL_PROXY, HTTPS_PROXY, HTTP_PROXY)"),
            None => return Ok(None),
        },
    };
    if proxy.host().is_empty() {
        return Err(BadWay::Proxy { from, problem: "has no host in its address" });
    }
    // ureq would go around a SOCKS proxy of the environment, and a person would not know.
    if !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(BadWay::Proxy { from, problem: "has to be of the kind http or https" });
    }
    Ok(Some(proxy))
}

/// The way that a connection to an address takes.
#[derive(Clone, PartialEq, Eq)]
pub struct Way {
    /// The other machine's name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken with it.
    pub tls: bool,
    /// The proxy before it.
    pub proxy: Option<Through>,
}

/// A proxy that connections go through.
#[derive(Clone, PartialEq, Eq)]
pub struct Through {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken with the proxy itself.
    pub tls: bool,
    /// Name and password for it, as `NAME:PASSWORD`.
    pub login: Option<SecretText>,
}

/// The way to an address, with the proxy that was given or else the environment's.
///
/// # Errors
/// If one of them cannot be used.
pub fn way(url: &str, given: Option<&str>) -> Result<Way, BadWay> {
    let uri = address(url)?;
    let tls = uri.scheme_str() == Some("https");
    let proxy = proxy(given, &uri)?.filter(|proxy| !proxy.is_no_proxy(&uri)).map(|proxy| Through {
        host: proxy.host().to_owned(),
        port: proxy.port(),
        tls: proxy.protocol() == ProxyProtocol::Https,
        login: proxy.username().map(|name| format!("{name}:{}", proxy.password().unwrap_or_default()).into()),
    });
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Way { host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }), tls, proxy })
}

/// Whether an address is this machine's own.
pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Whether an address is one that only its own machine or network knows.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

/// Whether an address of the web is such a one; a name is taken as it is.
pub fn is_private_url(url: &str) -> bool {
    let Some(host) = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)) else { return false };
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => is_private(address),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// What stood in the way of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The other side's certificate is not believed.
    Distrusted(Distrust),
    /// No connection, or none that lasted until an answer: the cause, in words.
    Unreachable(String),
}

impl Obstacle {
    /// From a call that brought no answer.
    pub fn of(error: ureq::Error) -> Self {
        let cause = match error {
            ureq::Error::Other(inner) => match inner.downcast::<Distrust>() {
                Ok(distrust) => return Self::Distrusted(*distrust),
                Err(inner) => inner.to_string(),
            },
            ureq::Error::HostNotFound => "its name is not known (DNS)".to_owned(),
            ureq::Error::Timeout(phase) => format!("no answer in time (while: {phase})"),
            ureq::Error::Io(error) => broken(&error),
            ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") => {
                "the proxy asks for a name and password; give them as http://NAME:PASSWORD@HOST:PORT in a file: --proxy-file FILE"
                    .to_owned()
            }
            ureq::Error::ConnectProxyFailed(reason) => {
                // Its status is told twice there, for want of a phrase.
                let status = reason.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 3);
                match status {
                    Some(status) => format!("the proxy did not connect: it answered HTTP {status}"),
                    None => format!("the proxy did not connect: {reason}"),
                }
            }
            ureq::Error::Rustls(rustls::Error::InvalidMessage(_)) => {
                "it does not speak TLS there; the address may begin with http:// instead".to_owned()
            }
            ureq::Error::Rustls(error) => format!("TLS failed: {error}"),
            ureq::Error::Protocol(_) => {
                "it does not speak HTTP there; the address may begin with https:// instead".to_owned()
            }
            other => other.to_string(),
        };
        Self::Unreachable(cause)
    }
}

/// Why a connection broke, or came not to be, in words.
pub fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused; nothing listens there".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "there is no way to it".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            "it closed the connection without an answer".to_owned()
        }
        // The resolver's failures carry no kind of their own.
        _ if error.to_string().contains("lookup address") => "its name is not known (DNS)".to_owned(),
        _ => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_recognised() {
        for url in
            ["https://192.168.1.5:8443/hooks/x", "http://localhost:1/x", "https://[fd00::1]/x", "https://0.0.0.0:1/"]
        {
            assert!(is_private_url(url), "{url}");
        }
        for url in ["https://hooks.example.com/x", "https://8.8.8.8/x", "https://[2001:db8::1]/x", "no url"] {
            assert!(!is_private_url(url), "{url}");
        }
    }
}
