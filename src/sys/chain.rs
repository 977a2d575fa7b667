//! Looks at the certificates that another machine shows, and names the one that is not believed: a person on the phone
//! has to know whose it is, who issued it, and what is missing.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::reach::Way;
use super::tls::{Described, describe};
use super::trust::{Authorities, Distrust, Trust, distrust_of};

/// What the other side showed.
#[derive(Debug)]
pub struct Chain {
    /// Its certificates, its own first, as far as they can be read.
    pub shown: Vec<Described>,
    /// Why they are not believed, if they are not.
    pub distrust: Option<Distrust>,
}

/// Where a look ended that saw no certificate.
#[derive(Debug, thiserror::Error)]
pub enum NoChain {
    /// No address of the machine, or of the proxy before it.
    #[error("the name {0} is not known (DNS)")]
    Name(String),
    /// Nobody takes the connection.
    #[error("{host} port {port} does not take the connection: {error}")]
    Connection {
        /// The machine, or the proxy before it.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        error: io::Error,
    },
    /// The proxy does not let us through.
    #[error("the proxy {host} does not connect: {answer}")]
    Proxy {
        /// The proxy.
        host: String,
        /// The first line of its answer.
        answer: String,
    },
    /// TLS was not agreed on.
    #[error("TLS failed: {0}")]
    Tls(String),
}

/// Connects, agrees on TLS and hangs up.
///
/// # Errors
/// If it does not come to a certificate.
pub fn look(way: &Way, trust: &Trust, authorities: &Authorities) -> Result<Chain, NoChain> {
    let end = Instant::now() + LOOK_MAX;
    let open = |host: &str, port| Ok(Limited { stream: connect(host, port)?, end });
    let mut stream = match &way.proxy {
        None => open(&way.host, way.port)?,
        Some(proxy) => tunnel(open(&proxy.host, proxy.port)?, way, &proxy.host, proxy.login.as_deref())?,
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let name = ServerName::try_from(way.host.clone()).map_err(|error| NoChain::Tls(error.to_string()))?;
    let config = trust.noting_config(authorities, Arc::clone(&seen));
    let mut connection = ClientConnection::new(config, name).map_err(|error| NoChain::Tls(error.to_string()))?;
    let mut failed = None;
    while connection.is_handshaking() && failed.is_none() {
        failed = connection.complete_io(&mut stream).err();
    }
    let shown: Vec<Described> =
        seen.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(|one| describe(one)).collect();
    match failed {
        None => Ok(Chain { shown, distrust: None }),
        Some(error) => match distrust_of(&error) {
            Some(distrust) => Ok(Chain { shown, distrust: Some(distrust) }),
            None => Err(NoChain::Tls(error.to_string())),
        },
    }
}

/// A connection to the first address that takes it.
///
/// # Errors
/// If the name is not known, or nobody takes it.
pub fn connect(host: &str, port: u16) -> Result<TcpStream, NoChain> {
    let addresses = (host, port).to_socket_addrs().map_err(|_| NoChain::Name(host.to_owned()))?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.take(ADDRESSES_MAX) {
        match TcpStream::connect_timeout(&address, STEP_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(NoChain::Connection { host: host.to_owned(), port, error: last })
}

/// A connection with one end for all that is read and written: whoever sends a byte now and then does not hold up a look.
struct Limited {
    stream: TcpStream,
    end: Instant,
}

impl Limited {
    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left.min(STEP_MAX)) }
    }
}

impl Read for Limited {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(bytes)
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn tunnel(mut stream: Limited, way: &Way, proxy: &str, login: Option<&str>) -> Result<Limited, NoChain> {
    let refused = |answer: String| NoChain::Proxy { host: proxy.to_owned(), answer };
    let broken = |error: io::Error| refused(error.to_string());
    let host = if way.host.contains(':') { format!("[{}]", way.host) } else { way.host.clone() };
    let target = format!("{host}:{}", way.port);
    let login = login.map(|login| format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(login)));
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", login.unwrap_or_default());
    stream.write_all(head.as_bytes()).map_err(broken)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if answer.len() >= ANSWER_BYTES_MAX || stream.read(&mut byte).map_err(broken)? == 0 {
            return Err(refused("its answer is none of HTTP".to_owned()));
        }
        answer.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let line: String = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(80).collect();
    match line.split(' ').nth(1) {
        Some("200") => Ok(stream),
        Some("407") => Err(refused("it asks for a name and password (407)".to_owned())),
        _ => Err(refused(line)),
    }
}

impl Chain {
    /// What is wrong with which certificate, and what to do; nothing where they are believed.
    pub fn fault(&self, host: &str, now: i64) -> Option<(String, String)> {
        let distrust = self.distrust.as_ref()?;
        let place = |one: &Described| match self.shown.iter().position(|other| other == one) {
            Some(0) | None => "the certificate",
            Some(_) => "the intermediate certificate",
        };
        let own = self.shown.first();
        Some(match distrust {
            Distrust::Expired => match self.shown.iter().find(|one| one.not_after < now) {
                Some(one) => (
                    format!("{} \"{}\", issued by \"{}\", has expired", place(one), one.subject, one.issuer),
                    format!("renew it on {host}; if it is valid, look at this box's clock"),
                ),
                None => ("a certificate has expired".to_owned(), format!("renew it on {host}")),
            },
            Distrust::NotYetValid => match self.shown.iter().find(|one| one.not_before > now) {
                Some(one) => (
                    format!("{} \"{}\", issued by \"{}\", is not valid yet", place(one), one.subject, one.issuer),
                    "look at this box's clock: timedatectl".to_owned(),
                ),
                None => ("a certificate is not valid yet".to_owned(), "look at this box's clock".to_owned()),
            },
            Distrust::UnknownIssuer { .. } => self.unknown_issuer(host),
            Distrust::WrongName { presented } => (
                format!(
                    "the certificate \"{}\" is made for {}, not for {host}",
                    own.map_or("", |own| own.subject.as_str()),
                    presented.join(", ")
                ),
                "use a name that the certificate has, or give the server one for this name".to_owned(),
            ),
            Distrust::Other(why) => (
                format!("the certificate \"{}\" cannot be used: {why}", own.map_or("", |own| own.subject.as_str())),
                format!("replace it on {host}"),
            ),
        })
    }

    fn unknown_issuer(&self, host: &str) -> (String, String) {
        let Some(last) = self.shown.last() else {
            return (
                "a certificate of an unknown authority".to_owned(),
                "give the authority with --ca-file".to_owned(),
            );
        };
        let add = "have it trusted: --ca-file FILE, or the system's store (update-ca-certificates)";
        if last.self_signed && self.shown.len() == 1 {
            return (format!("the certificate \"{}\" is signed by itself", last.subject), add.to_owned());
        }
        if last.self_signed {
            let text =
                format!("\"{}\", at the end of the chain, is an authority that this box does not know", last.subject);
            return (text, add.to_owned());
        }
        (
            format!(
                "\"{}\" was issued by \"{}\", which {host} does not send and this box does not know",
                last.subject, last.issuer
            ),
            format!(
                "if that is an intermediate authority, have {host} send it with its certificate; if it is one of your own, {add}"
            ),
        )
    }
}

/// One step: the connection, and each wait for the other side's next word.
const STEP_MAX: Duration = Duration::from_secs(4);

/// What is sent and read of one look, all together: it is a part of one that has 17 s.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 2;

/// The head of a proxy's answer.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::net::TcpListener;
    use std::thread;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    /// An authority of its own, one below it, and a server's certificate of that one.
    struct Family {
        root: String,
        middle: CertificateDer<'static>,
        leaf: CertificateDer<'static>,
        key: KeyPair,
    }

    impl Family {
        fn new(ended: bool) -> Self {
            let authority = |name: &str| {
                let mut params = CertificateParams::new(Vec::new()).unwrap();
                params.distinguished_name.push(DnType::CommonName, name);
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params
            };
            let (root_key, middle_key, key) =
                (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
            let root = authority("Root").self_signed(&root_key).unwrap().pem();
            let root_issuer = Issuer::new(authority("Root"), root_key);
            let middle = authority("Middle").signed_by(&middle_key, &root_issuer).unwrap();
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, "sonar");
            if ended {
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(2021, 1, 1);
            }
            let leaf = params.signed_by(&key, &Issuer::new(authority("Middle"), middle_key)).unwrap();
            Self { root, middle: middle.der().clone(), leaf: leaf.der().clone(), key }
        }

        /// What a look at a server finds that shows these, by a box that trusts the root.
        fn look(self, shown: Vec<CertificateDer<'static>>, trusted: bool) -> Chain {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
            let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(shown, key)
                .unwrap();
            let server = thread::spawn(move || {
                let mut stream = listener.accept().unwrap().0;
                let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
                while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
            });
            let way = Way { host: "localhost".to_owned(), port, tls: true, proxy: None };
            let authorities = if trusted { Authorities::parse(&self.root).unwrap() } else { Authorities::default() };
            let chain = look(&way, &Trust::load(), &authorities).unwrap();
            server.join().unwrap();
            chain
        }
    }

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn the_certificate_that_is_not_believed_is_named_with_what_is_missing() {
        let family = Family::new(false);
        let shown = vec![family.leaf.clone(), family.middle.clone()];
        let chain = family.look(shown, true);
        assert_eq!((chain.fault("localhost", NOW), chain.shown.len()), (None, 2));

        let family = Family::new(false);
        let shown = vec![family.leaf.clone()];
        let (text, remedy) = family.look(shown, true).fault("localhost", NOW).unwrap();
        assert_eq!(
            text,
            "\"CN=sonar\" was issued by \"CN=Middle\", which localhost does not send and this box does not know"
        );
        assert!(remedy.contains("have localhost send it"), "{remedy}");

        let family = Family::new(false);
        let shown = vec![family.leaf.clone(), family.middle.clone()];
        let (text, _) = family.look(shown, false).fault("localhost", NOW).unwrap();
        assert_eq!(
            text,
            "\"CN=Middle\" was issued by \"CN=Root\", which localhost does not send and this box does not know"
        );

        let family = Family::new(true);
        let shown = vec![family.leaf.clone(), family.middle.clone()];
        let (text, remedy) = family.look(shown, true).fault("localhost", NOW).unwrap();
        assert_eq!(text, "the certificate \"CN=sonar\", issued by \"CN=Middle\", has expired");
        assert!(remedy.contains("renew it on localhost"), "{remedy}");
    }

    #[test]
    fn what_comes_after_the_end_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut proxy, _) = listener.accept().unwrap();
        proxy.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        // It is there to be read.
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
        let way = Way { host: "sonar.example".to_owned(), port: 443, tls: true, proxy: None };
        let limited = |stream: &TcpStream, end| Limited { stream: stream.try_clone().unwrap(), end };
        let mut late = limited(&stream, Instant::now());
        assert_eq!(late.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(late.write(&[0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let error = tunnel(late, &way, "proxy.example", None).err().unwrap().to_string();
        assert!(error.starts_with("the proxy proxy.example does not connect: "), "{error}");
        assert!(tunnel(limited(&stream, Instant::now() + LOOK_MAX), &way, "proxy.example", None).is_ok());
    }

    #[test]
    fn where_no_certificate_is_seen_the_step_is_named() {
        // A port that the system gives nobody who asks for any.
        let to = |host: &str| Way { host: host.to_owned(), port: 9, tls: true, proxy: None };
        let look = |way: &Way| look(way, &Trust::load(), &Authorities::default()).unwrap_err().to_string();
        assert!(look(&to("127.0.0.1")).contains("does not take the connection"));
        assert_eq!(look(&to("nowhere.invalid")), "the name nowhere.invalid is not known (DNS)");
    }
}
