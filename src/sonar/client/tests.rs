//! The client over real sockets, against a server that gives prepared answers, one to a connection.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::domain::crawl::Slice;
use crate::domain::ids::ScopeKind;
use crate::sonar::CertificateProblem;

struct Sonar {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Sonar {
    fn answering(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::start(answers, None)
    }

    fn start(answers: impl IntoIterator<Item = Vec<u8>>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (answers, kept) = (answers.into_iter().collect::<Vec<_>>(), Arc::clone(&heads));
        thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                // The client may hang up at any point; the test looks at what it made of that.
                let _ = match &tls {
                    None => exchange(stream, &answer, &kept),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                        exchange(rustls::StreamOwned::new(connection, stream), &answer, &kept)
                    }
                };
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn paths(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
    }

    fn cloud(&self) -> Client {
        client(Connection { cloud: true, ..connection(&format!("http://{}", self.address)) })
    }

    fn server(&self) -> Client {
        client(connection(&format!("http://{}", self.address)))
    }
}

fn exchange(mut stream: impl Read + Write, answer: &[u8], heads: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    heads.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    stream.write_all(answer)?;
    stream.flush()
}

fn connection(url: &str) -> Connection {
    Connection {
        name: SourceName::parse("work").unwrap(),
        url: url.to_owned(),
        api_url: None,
        cloud: false,
        version: None,
        token: Token::parse("squ_secret").unwrap(),
        ca_pem: None,
        proxy: None,
    }
}

fn client(connection: Connection) -> Client {
    Client::new(connection, &Trust::load()).unwrap()
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn ok(body: &str) -> Vec<u8> {
    http("200 OK", "Content-Type: application/json\r\n", body)
}

fn not_found() -> Vec<u8> {
    http("404 Not Found", "", r#"{"errors":[{"msg":"Component key not found"}]}"#)
}

fn organization() -> OrganizationKey {
    OrganizationKey::parse("acme").unwrap()
}

fn shop() -> ProjectKey {
    ProjectKey::parse("shop").unwrap()
}

/// What the client makes of one answer to a simple question.
fn failure(answer: Vec<u8>) -> FetchError {
    let error = Sonar::answering([answer]).cloud().branches(&shop()).unwrap_err();
    assert!(!error.to_string().contains("squ_secret") && !format!("{error:?}").contains("squ_secret"));
    error
}

#[test]
fn a_token_is_taken_out_of_its_file_and_never_printed() {
    let token = Token::parse("  squ_0123456789\r\n").unwrap();
    assert_eq!(token.reveal(), "squ_0123456789");
    assert_eq!(format!("{token:?} {:?}", connection("http://a")).matches("squ").count(), 0);
    assert_eq!(Token::parse(" \n"), Err(BadToken::Empty));
    assert_eq!(Token::parse("two\nlines"), Err(BadToken::OddCharacter));
    assert_eq!(Token::parse("schlüssel"), Err(BadToken::OddCharacter));
    assert_eq!(Token::parse(&"x".repeat(513)), Err(BadToken::TooLong { bytes: 513 }));
}

#[test]
fn addresses_are_brought_into_one_form() {
    let of = |url: &str| Client::new(connection(url), &Trust::load()).map(|client| client.base.address);
    assert_eq!(of("https://sonar.example").unwrap(), "https://sonar.example/");
    assert_eq!(of(" https://sonar.example:9000/sonar// ").unwrap(), "https://sonar.example:9000/sonar/");
    assert_eq!(of("http://[::1]:9000").unwrap(), "http://[::1]:9000/");
    for bad in ["", "sonar.example", "ftp://sonar.example", "https://", "https://a/?x=1", "https://a/#b", "https://a:"]
    {
        assert!(of(bad).is_err(), "{bad}");
    }
    let error = of("https://user:hunter2@sonar.example").unwrap_err().to_string();
    assert!(error.contains("a name or password") && !error.contains("hunter2"), "{error}");
}

#[test]
fn proxies_and_authorities_are_checked_before_anything_is_sent() {
    let new = |connection| Client::new(connection, &Trust::load());
    let proxied = |proxy: &str| Connection { proxy: Some(proxy.into()), ..connection("https://sonar.example") };
    let client = new(proxied("http://proxy.example:3128")).unwrap();
    assert_eq!(client.base.way, "sonar.example (through the proxy proxy.example:3128)");
    assert!(new(proxied("proxy.example:3128")).is_ok());
    let error = new(proxied("socks5://name:hunter2@proxy.example")).unwrap_err().to_string();
    assert!(error.contains("of the kind http or https") && !error.contains("hunter2"), "{error}");
    assert!(new(proxied("")).is_err());
    let empty = Connection { ca_pem: Some("no pem".to_owned()), ..connection("https://sonar.example") };
    assert!(matches!(new(empty), Err(BadConnection::Authorities(BadAuthorities::None))));
}

#[test]
fn a_bad_token_is_an_answer_and_not_an_error() {
    let headers = "SonarQube-Authentication-Token-Expiration: 2027-08-17T00:00:00+0000\r\n\
                   Date: Sat, 21 Nov 2026 10:00:00 GMT\r\n";
    let sonar = Sonar::answering([http("200 OK", headers, r#"{"valid":true}"#), ok(r#"{"valid":false}"#)]);
    let client = sonar.cloud();
    let time = |text: &str| Some(Timestamp::parse(text).unwrap());
    assert_eq!(
        client.validate().unwrap(),
        TokenCheck { valid: true, expires_at: time("2027-08-17T00:00:00Z"), server_time: time("2026-11-21T10:00:00Z") }
    );
    assert_eq!(client.validate().unwrap(), TokenCheck { valid: false, expires_at: None, server_time: None });
    assert_eq!(client.requests(), 2);
    let head = &sonar.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /api/authentication/validate http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer squ_secret\r\n"), "{head}");
    assert!(head.contains("user-agent: hydrophone/") && head.contains("accept-encoding: gzip"), "{head}");
}

#[test]
fn a_refused_token_names_the_command_that_helps() {
    let error = failure(http("401 Unauthorized", "", ""));
    assert!(matches!(error, FetchError::Refused { status: 401, .. }) && error.needs_person());
    assert!(error.to_string().contains("`hydrophone source token work --token-file FILE`"), "{error}");
}

#[test]
fn a_lacking_permission_is_not_a_bad_token() {
    let error = failure(http("403 Forbidden", "", r#"{"errors":[{"msg":"Insufficient privileges"}]}"#));
    assert!(matches!(&error, FetchError::NoPermission { what, .. } if what == "the branches of shop"), "{error}");
}

#[test]
fn only_a_404_in_sonars_words_says_that_something_is_gone() {
    assert!(matches!(failure(not_found()), FetchError::NotFound { .. }));
    for other in ["", "<html>404</html>", "no such page"] {
        let error = failure(http("404 Not Found", "", other));
        assert!(matches!(error, FetchError::NotJson { status: 404, .. }), "{error}");
    }
    let sonar = Sonar::answering([not_found(), not_found(), not_found(), http("404 Not Found", "", "<html>")]);
    let client = sonar.cloud();
    assert_eq!(client.project(&organization(), &shop()).unwrap(), None);
    assert_eq!(client.hotspot(&IssueKey::parse("H").unwrap()).unwrap(), None);
    assert_eq!(client.rule(&organization(), &RuleKey::parse("a:b").unwrap()).unwrap(), None);
    assert!(client.project(&organization(), &shop()).is_err());
    assert_eq!(
        sonar.paths()[..3],
        [
            "/api/components/show?component=shop",
            "/api/hotspots/show?hotspot=H",
            "/api/rules/show?key=a%3Ab&organization=acme"
        ]
    );
}

#[test]
fn a_bad_question_is_told_in_sonars_words() {
    let body = r#"{"errors":[{"msg":"Can return only the first 10000 results. 10500th result asked."}]}"#;
    let error = failure(http("400 Bad Request", "", body));
    assert!(error.to_string().ends_with("10500th result asked."), "{error}");
    assert!(error.needs_person() && error.retry_after().is_none());
}

#[test]
fn a_pause_is_as_long_as_sonar_says() {
    let pause =
        |headers: &str| failure(http("429 Too Many Requests", headers, "")).retry_after().map(|wish| wish.as_secs());
    assert_eq!(pause("Retry-After: 17\r\n"), Some(17));
    assert_eq!(pause(""), None);
    assert_eq!(pause("Retry-After: soon\r\n"), None);
    assert_eq!(pause("Retry-After: 0\r\n"), Some(1));
    assert_eq!(pause("Retry-After: 999999\r\n"), Some(3600));
    let date = "Date: Sat, 21 Nov 2026 10:00:00 GMT\r\nRetry-After: Sat, 21 Nov 2026 10:02:05 GMT\r\n";
    assert_eq!(pause(date), Some(125));
}

#[test]
fn an_index_that_is_being_built_is_waited_for() {
    let body = r#"{"errors":[{"msg":"Results are temporarily unavailable. Indexing of issues is in progress."}]}"#;
    let error = failure(http("503 Service Unavailable", "", body));
    assert_eq!((error.retry_after(), error.needs_person()), (None, false));
    assert!(error.to_string().contains("Indexing of issues"), "{error}");
    let gateway = failure(http("502 Bad Gateway", "Retry-After: 5\r\n", "<html>secret page</html>"));
    assert_eq!(gateway.retry_after(), Some(Duration::from_secs(5)));
    assert!(!gateway.to_string().contains("secret page"), "{gateway}");
}

#[test]
fn a_login_page_is_not_an_empty_list() {
    let error = failure(http("200 OK", "Content-Type: text/html\r\n", "\n<!DOCTYPE html><title>Log in</title>"));
    assert!(matches!(error, FetchError::NotJson { hint: "HTML, not JSON", .. }), "{error}");
    assert!(error.to_string().contains("a proxy or a login page stands between"), "{error}");
    assert!(matches!(failure(ok("welcome")), FetchError::NotJson { hint: "not JSON", .. }));
}

#[test]
fn json_of_another_shape_is_told_without_its_content() {
    let error = failure(ok(r#"{"branches":"payload-of-somebody"}"#));
    assert!(matches!(error, FetchError::NotUnderstood { .. }), "{error}");
    assert!(!error.to_string().contains("payload"), "{error}");
    assert_eq!(
        failure(ok("{}")).to_string().split_once(" is not understood: ").unwrap().1,
        "it has no `branches`; this version of Sonar may be too new or too old"
    );
}

#[test]
fn a_redirect_is_told_and_not_followed() {
    let error = failure(http("302 Found", "Location: https://login.example/sso?token=abc\r\n", ""));
    assert!(matches!(&error, FetchError::Moved { to, .. } if to == "https://login.example"), "{error}");
}

#[test]
fn a_cut_answer_is_told_from_a_short_one() {
    let whole = String::from_utf8(ok(r#"{"branches":[]}"#)).unwrap();
    let cut = whole.as_bytes()[..whole.len() - 4].to_vec();
    assert!(matches!(failure(cut), FetchError::CutShort { .. }));
    let unframed = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"branches\":[".to_vec();
    assert!(matches!(failure(unframed), FetchError::CutShort { .. }));
    assert!(matches!(failure(ok("")), FetchError::CutShort { .. }));
    assert!(matches!(failure(Vec::new()), FetchError::Unreachable { .. }));
}

#[test]
fn an_answer_without_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"x\":\"");
        let filling = vec![b'x'; 1024 * 1024];
        while stream.write_all(&filling).is_ok() {}
    });
    let mut client = client(Connection { cloud: true, ..connection(&format!("http://{address}")) });
    assert_eq!(client.answer_bytes_max, SONAR_ANSWER_BYTES_MAX);
    client.answer_bytes_max = 2 * 1024 * 1024;
    let error = client.branches(&shop()).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    assert!(error.to_string().ends_with("larger than 2 MiB, which is the most that is read"), "{error}");
}

#[test]
fn what_keeps_sonar_out_of_reach_is_named() {
    // A port that the system gives nobody who asks for any.
    let unused = "127.0.0.1:9";
    let error = client(Connection { cloud: true, ..connection(&format!("http://{unused}")) }).branches(&shop());
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{unused} cannot be reached: the connection was refused; nothing listens there")
    );
    assert!(!error.needs_person());
    let sonar = Sonar::answering([b"nonsense\r\n\r\n".to_vec()]);
    let error = sonar.cloud().branches(&shop()).unwrap_err().to_string();
    assert!(error.ends_with("it does not speak HTTP there; the address may begin with https:// instead"), "{error}");
}

#[test]
fn https_to_a_port_without_tls_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.accept().unwrap().0.write_all(&http("400 Bad Request", "", "")));
    let error = client(connection(&format!("https://{address}"))).branches(&shop()).unwrap_err().to_string();
    assert!(error.ends_with("it does not speak TLS there; the address may begin with http:// instead"), "{error}");
}

#[test]
fn a_packed_answer_is_unpacked() {
    let body = br#"{"branches":[{"name":"main","isMain":true}]}"#;
    let length = u16::try_from(body.len()).unwrap();
    // RFC 1952 with one stored block of RFC 1951.
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(body);
    packed.extend(crc32fast::hash(body).to_le_bytes());
    packed.extend(u32::from(length).to_le_bytes());
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n";
    let mut answer = format!("{head}Content-Length: {}\r\n\r\n", packed.len()).into_bytes();
    answer.extend(packed);
    assert_eq!(Sonar::answering([answer]).cloud().branches(&shop()).unwrap().len(), 1);
}

#[test]
fn a_dead_proxy_is_named() {
    // A port that the system gives nobody who asks for any.
    let unused = "127.0.0.1:9";
    let connection = Connection {
        cloud: true,
        proxy: Some(format!("http://{unused}").into()),
        ..connection("https://sonar.example")
    };
    let error = client(connection).branches(&shop()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("sonar.example (through the proxy {unused}) cannot be reached: ")), "{error}");
}

#[test]
fn a_proxy_that_wants_a_password_says_so() {
    let proxy = Sonar::answering([http("407 Proxy Authentication Required", "", "")]);
    let connection = Connection {
        cloud: true,
        proxy: Some(format!("http://{}", proxy.address).into()),
        ..connection("https://sonar.example")
    };
    let error = client(connection).branches(&shop()).unwrap_err().to_string();
    assert!(error.contains("the proxy asks for a name and password"), "{error}");
    assert!(proxy.heads()[0].starts_with("CONNECT sonar.example:443 "), "{:?}", proxy.heads());
}

/// An authority and a server certificate that it issued.
struct Certificates {
    authority_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Certificates {
    fn new(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "Harbour Test Authority");
        let authority_key = KeyPair::generate().unwrap();
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &Issuer::from_params(&authority, &authority_key)).unwrap();
        Self { authority_pem, chain: vec![certificate.der().clone()], key }
    }

    fn serve(&self, answers: impl IntoIterator<Item = Vec<u8>>) -> Sonar {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .unwrap();
        Sonar::start(answers, Some(Arc::new(config)))
    }

    fn connection(&self, sonar: &Sonar, trusted: bool) -> Connection {
        Connection {
            cloud: true,
            ca_pem: trusted.then(|| self.authority_pem.clone()),
            ..connection(&format!("https://localhost:{}", sonar.address.port()))
        }
    }
}

#[test]
fn an_authority_that_is_not_trusted_is_named_and_nothing_is_sent() {
    let certificates = Certificates::new("localhost", |_| {});
    let sonar = certificates.serve([ok(r#"{"branches":[]}"#), ok(r#"{"branches":[]}"#)]);
    let error = client(certificates.connection(&sonar, false)).branches(&shop()).unwrap_err();
    assert!(
        matches!(&error, FetchError::Untrusted { issuer: Some(issuer), .. } if issuer.contains("Harbour Test Authority")),
        "{error:?}"
    );
    assert!(error.to_string().ends_with("this box does not trust; give the authority's certificate with --ca-file"));
    let client = client(certificates.connection(&sonar, true));
    assert_eq!(client.branches(&shop()).unwrap(), []);
    assert_eq!(sonar.heads().len(), 1);
}

#[test]
fn an_authority_is_named_through_a_proxy_too() {
    let certificates = Certificates::new("localhost", |_| {});
    let sonar = certificates.serve([ok("{}")]);
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy_address = proxy.local_addr().unwrap();
    let target = sonar.address;
    thread::spawn(move || {
        let (mut near, _) = proxy.accept().unwrap();
        let heads = Mutex::new(Vec::new());
        exchange(&mut near, b"HTTP/1.1 200 OK\r\n\r\n", &heads).unwrap();
        let mut far = TcpStream::connect(target).unwrap();
        let (mut near_too, mut far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut far_too, &mut near_too));
        let _ = io::copy(&mut near, &mut far);
    });
    let connection =
        Connection { proxy: Some(format!("http://{proxy_address}").into()), ..certificates.connection(&sonar, false) };
    let error = client(connection).branches(&shop()).unwrap_err().to_string();
    assert!(error.contains("Harbour Test Authority") && error.contains("through the proxy"), "{error}");
}

#[test]
fn a_certificate_for_another_name_or_time_says_so() {
    let problem = |name: &str, change: fn(&mut CertificateParams)| {
        let certificates = Certificates::new(name, change);
        let sonar = certificates.serve([ok("{}")]);
        match client(certificates.connection(&sonar, true)).branches(&shop()).unwrap_err() {
            FetchError::BadCertificate { problem, .. } => problem,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        problem("other.example", |_| {}),
        CertificateProblem::WrongName { presented: vec!["other.example".to_owned()] }
    );
    let expired = problem("localhost", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    assert_eq!(expired, CertificateProblem::Expired);
    let early = problem("localhost", |params| params.not_before = rcgen::date_time_ymd(2500, 1, 1));
    assert_eq!(early, CertificateProblem::NotYetValid);
}

#[test]
fn the_dialect_of_a_server_is_asked_once_and_an_old_one_gets_basic_authentication() {
    let sonar =
        Sonar::answering([ok("9.9.4.87374"), ok("9.9.4.87374"), ok(r#"{"valid":true}"#), ok(r#"{"branches":[]}"#)]);
    let client = sonar.server();
    let (dialect, version) = client.dialect().unwrap();
    assert_eq!(dialect, Dialect::server(Version::new(9, 9), None));
    assert_eq!(version.as_deref(), Some("9.9.4.87374"));
    assert!(client.validate().unwrap().valid);
    client.branches(&shop()).unwrap();
    assert_eq!(
        sonar.paths(),
        [
            "/api/server/version",
            "/api/server/version",
            "/api/authentication/validate",
            "/api/project_branches/list?project=shop"
        ]
    );
    let heads: Vec<_> = sonar.heads().iter().map(|head| head.to_ascii_lowercase()).collect();
    assert!(!heads[0].contains("authorization:"), "{}", heads[0]);
    assert!(sonar.heads()[2].contains("Basic c3F1X3NlY3JldDo=\r\n"), "{}", sonar.heads()[2]);
}

#[test]
fn a_server_with_two_modes_is_asked_for_its_mode() {
    let dialect = |answer: Vec<u8>| {
        Sonar::answering([ok("10.8.0.1"), ok("10.8.0.1"), answer]).server().dialect().map(|(dialect, _)| dialect)
    };
    let with = |mode| Dialect::server(Version::new(10, 8), Some(mode));
    assert_eq!(dialect(ok(r#"{"mode":"STANDARD_EXPERIENCE"}"#)).unwrap(), with(Mode::Standard));
    assert_eq!(dialect(ok(r#"{"mode":"MQR","modified":true}"#)).unwrap(), with(Mode::MultiQuality));
    assert_eq!(dialect(http("404 Not Found", "", "")).unwrap(), with(Mode::MultiQuality));
    assert_eq!(dialect(http("403 Forbidden", "", "")).unwrap(), with(Mode::MultiQuality));
    assert!(dialect(http("503 Service Unavailable", "", "")).is_err());
    assert!(dialect(ok("<html>")).is_err());
}

#[test]
fn cloud_needs_no_call_for_its_dialect() {
    let client = Sonar::answering([]).cloud();
    assert_eq!(client.dialect().unwrap(), (Dialect::cloud(), None));
    assert_eq!(client.requests(), 0);
}

#[test]
fn organizations_come_from_the_newer_interface_and_else_from_the_older() {
    let older =
        r#"{"paging":{"pageIndex":1,"pageSize":500,"total":2},"organizations":[{"key":"acme"},{"key":"bolt"}]}"#;
    for refusal in [
        http("401 Unauthorized", "", ""),
        http("403 Forbidden", "", ""),
        http("404 Not Found", "", r#"{"message":"Not Found"}"#),
        ok("<html>"),
        ok(r#"{"organizations":[]}"#),
    ] {
        let newer = Sonar::answering([refusal]);
        let sonar = Sonar::answering([ok(older)]);
        let client = client(Connection {
            cloud: true,
            api_url: Some(format!("http://{}/", newer.address)),
            ..connection(&format!("http://{}", sonar.address))
        });
        assert_eq!(client.organizations().unwrap().len(), 2);
        assert_eq!(newer.paths(), ["/organizations/organizations?excludeEligibility=true"]);
        assert_eq!(sonar.paths(), ["/api/organizations/search?member=true&ps=500&p=1"]);
    }
}

#[test]
fn a_failure_to_list_organizations_is_not_an_empty_list() {
    let newer = Sonar::answering([http("503 Service Unavailable", "", "")]);
    let api_url = Some(format!("http://{}", newer.address));
    let with_api = client(Connection { cloud: true, api_url, ..connection("http://127.0.0.1:1") });
    assert!(matches!(with_api.organizations(), Err(FetchError::Unavailable { .. })));
    let older = Sonar::answering([http("401 Unauthorized", "", "")]).cloud();
    assert!(matches!(older.organizations(), Err(FetchError::Refused { .. })));
}

#[test]
fn a_server_is_one_organization() {
    let server = Sonar::answering([]).server();
    let key = OrganizationKey::parse("work").unwrap();
    assert_eq!(server.organizations().unwrap(), [Organization { key, name: "work".to_owned() }]);
}

#[test]
fn a_project_of_another_organization_is_not_ours() {
    let body = r#"{"component":{"key":"shop","name":"Shop","organization":"other","qualifier":"TRK"}}"#;
    let sonar = Sonar::answering([ok(body)]);
    assert_eq!(sonar.cloud().project(&organization(), &shop()).unwrap(), None);
    let server = Sonar::answering([ok("10.6.0.1"), ok(body)]);
    assert!(server.server().project(&organization(), &shop()).unwrap().is_some());
}

#[test]
fn projects_are_asked_for_as_each_edition_wants() {
    let page = r#"{"paging":{"total":1},"components":[{"key":"shop","name":"Shop"}]}"#;
    let sonar = Sonar::answering([ok(page)]);
    assert_eq!(sonar.cloud().projects(&organization(), Some("a & b"), 2).unwrap().projects[0].name, "Shop");
    assert_eq!(sonar.paths(), ["/api/components/search?organization=acme&q=a%20%26%20b&ps=500&p=2"]);
    let sonar = Sonar::answering([ok("10.6.0.1"), ok(page)]);
    sonar.server().projects(&organization(), None, 1).unwrap();
    assert_eq!(sonar.paths()[1], "/api/components/search?qualifiers=TRK&ps=500&p=1");
}

#[test]
fn the_newest_analysis_counts() {
    let body = r#"{"analyses":[{"date":"2026-01-05T10:00:00+0000"},{"date":"2026-01-04T10:00:00+0000"}]}"#;
    let sonar = Sonar::answering([ok(body), ok(r#"{"analyses":[]}"#)]);
    let client = sonar.cloud();
    let branch = ScopeName::parse("feature/ü").unwrap();
    let newest = client.analyses(&shop(), Some(&branch)).unwrap();
    assert_eq!(newest, Some(Timestamp::parse("2026-01-05T10:00:00Z").unwrap()));
    assert_eq!(client.analyses(&shop(), None).unwrap(), None);
    assert_eq!(sonar.paths()[0], "/api/project_analyses/search?project=shop&branch=feature%2F%C3%BC&ps=1");
}

#[test]
fn the_commit_is_that_of_the_analysis_that_is_meant() {
    let body = r#"{"analyses":[{"date":"2026-01-05T10:00:00+0000","revision":"3f2a"},
                               {"date":"2026-01-04T10:00:00+0000","revision":"77aa"}]}"#;
    let none = r#"{"analyses":[]}"#;
    let sonar = Sonar::answering([ok(body), ok(body), ok(body), ok(body), ok(none)]);
    let client = sonar.cloud();
    let named = |kind, name| ScopeRef::Named { kind, name: ScopeName::parse(name).unwrap() };
    let at = |time| Some(Timestamp::parse(time).unwrap());
    let ask = |scope: &ScopeRef, at| client.revision(&shop(), scope, at).unwrap();
    assert_eq!(ask(&ScopeRef::Main, None).as_deref(), Some("3f2a"));
    assert_eq!(ask(&named(ScopeKind::Branch, "next"), at("2026-01-05T10:00:00Z")).as_deref(), Some("3f2a"));
    // Sonar has gone on meanwhile.
    assert_eq!(ask(&ScopeRef::Main, at("2026-01-05T09:59:59Z")).as_deref(), Some("77aa"));
    assert_eq!(ask(&ScopeRef::Main, at("2026-01-04T09:59:59Z")), None);
    assert_eq!(ask(&ScopeRef::Main, None), None);
    assert_eq!(ask(&named(ScopeKind::PullRequest, "7"), None), None);
    let main = "/api/project_analyses/search?project=shop&ps=20";
    let next = "/api/project_analyses/search?project=shop&branch=next&ps=20";
    assert_eq!(sonar.paths(), [main, next, main, main, main]);
}

#[test]
fn a_crawl_goes_on_without_a_word_that_this_sonar_does_not_know() {
    let refusal = r#"{"errors":[{"msg":"Value of parameter 'issueStatuses' (IN_SANDBOX) must be one of: [OPEN]"}]}"#;
    let page = r#"{"paging":{"total":0},"issues":[],"facets":[{"property":"statuses","values":[]}]}"#;
    let sonar = Sonar::answering([http("400 Bad Request", "", refusal), ok(page), ok(page)]);
    let client = sonar.cloud();
    for number in 1..=2 {
        let read = client
            .list(Dialect::cloud(), &organization(), &shop(), &ScopeRef::Main, &ask(List::Issues, number))
            .unwrap();
        assert_eq!(read.by_status(|_| true), Some(0));
    }
    let asked: Vec<bool> = sonar.paths().iter().map(|path| path.contains("IN_SANDBOX")).collect();
    assert_eq!(asked, [true, false, false]);
}

#[test]
fn issues_are_asked_for_by_key_until_all_are_there_and_never_without_keys() {
    let page = |key: &str| format!(r#"{{"paging":{{"total":2}},"issues":[{{"key":"{key}","status":"CLOSED"}}]}}"#);
    let sonar = Sonar::answering([ok(&page("A")), ok(&page("B"))]);
    let client = sonar.cloud();
    let scope = ScopeRef::Named { kind: ScopeKind::Branch, name: ScopeName::parse("dev").unwrap() };
    let keys = [IssueKey::parse("A").unwrap(), IssueKey::parse("B").unwrap()];
    let none = client.issues_by_key(Dialect::cloud(), &organization(), &shop(), &scope, &[]).unwrap();
    assert_eq!((none, client.requests()), (FindingsPage::default(), 0));
    let both = client.issues_by_key(Dialect::cloud(), &organization(), &shop(), &scope, &keys).unwrap();
    assert_eq!((both.rows, both.total, both.findings.len()), (2, 2, 2));
    assert_eq!(
        sonar.paths(),
        [1, 2].map(|p| format!(
            "/api/issues/search?componentKeys=shop&organization=acme&branch=dev&issues=A,B&ps=500&p={p}"
        ))
    );
}

fn ask(list: List, page: u32) -> Ask {
    Ask { list, slice: Slice::default(), page, facet: None }
}

#[test]
fn hotspots_of_a_page_are_read() {
    let page = r#"{"paging":{"total":1},"hotspots":[{"key":"H","status":"TO_REVIEW"}],"components":[]}"#;
    let sonar = Sonar::answering([ok("10.6.0.1"), ok(page)]);
    let dialect = Dialect::server(Version::new(10, 6), None);
    let read =
        sonar.server().list(dialect, &organization(), &shop(), &ScopeRef::Main, &ask(List::Hotspots, 1)).unwrap();
    assert_eq!((read.total, read.findings.len()), (1, 1));
    assert_eq!(sonar.paths()[1], "/api/hotspots/search?project=shop&ps=500&p=1");
}

#[test]
fn basic_authentication_has_its_three_endings() {
    for (token, encoded) in [("f", "Zjo="), ("fo", "Zm86"), ("foo", "Zm9vOg=="), ("foob", "Zm9vYjo=")] {
        assert_eq!(Token::parse(token).unwrap().header(true).to_str().unwrap(), format!("Basic {encoded}"));
    }
}

/// Counts, and refuses after a number of requests.
#[derive(Default)]
struct Two(Mutex<Vec<&'static str>>);

impl Pacer for Two {
    fn before(&self) -> Result<(), FetchError> {
        let mut told = self.0.lock().unwrap();
        if told.iter().filter(|word| **word == "before").count() == 2 {
            return Err(FetchError::Paused { retry_after: Duration::from_secs(9) });
        }
        told.push("before");
        Ok(())
    }

    fn after(&self, failed: Option<&FetchError>) {
        self.0.lock().unwrap().push(if failed.is_some() { "failed" } else { "answered" });
    }
}

#[test]
fn each_request_waits_for_leave_and_its_end_is_told() {
    let sonar = Sonar::answering([http("200 OK", "", r#"{"valid":true}"#), http("429 Too Many Requests", "", "")]);
    let pacer = Arc::new(Two::default());
    let client = sonar.cloud().paced(pacer.clone());
    assert!(client.validate().is_ok());
    assert!(matches!(client.validate(), Err(FetchError::Throttled { retry_after: None })));
    let error = client.validate().unwrap_err();
    assert_eq!((error.retry_after(), error.needs_person()), (Some(Duration::from_secs(9)), false));
    assert_eq!(*pacer.0.lock().unwrap(), ["before", "answered", "before", "failed"]);
    assert_eq!(client.requests(), 2);
}

/// A server that goes on as long as somebody listens: this head, and then this again and again.
fn endless(head: &'static str, again: Vec<u8>, pause: Duration) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(&again).is_ok() {
                thread::sleep(pause);
            }
        }
    });
    let connection = Connection { cloud: true, ..connection(&format!("http://{address}")) };
    Client::within(connection, &Trust::load(), Duration::from_millis(500)).unwrap()
}

/// What a server sends drop by drop arrives in time each, and never ends: the time of a whole call is bounded, in the
/// head as in the body, and in what comes before the head.
#[test]
fn a_call_ends_in_its_time_however_slowly_an_answer_drips() {
    let pause = Duration::from_millis(20);
    for (head, again) in [
        ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"branches\":[", " "),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "x"),
        ("HTTP/1.1 200 OK\r\nX-A: ", "b"),
        ("H", ""),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"),
    ] {
        let error = endless(head, again.as_bytes().to_vec(), pause).branches(&shop()).unwrap_err();
        assert!(
            matches!(
                error,
                FetchError::Unreachable { .. } | FetchError::CutShort { .. } | FetchError::NotUnderstood { .. }
            ),
            "{head:?}{again:?}: {error}"
        );
        assert!(!error.to_string().contains("squ_secret"), "{error}");
    }
}

/// What unpacks to nothing, or to much more, keeps nobody busy for longer than a call may take, and fills no memory.
#[test]
fn an_answer_that_unpacks_to_much_is_given_up() {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    let packed = |bytes: &[u8]| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let answer = |body: &[u8]| {
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n";
        let mut answer = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend(body);
        answer
    };
    // Ten MiB of blanks in ten kilobytes: they are JSON so far.
    let bomb = packed(&vec![b' '; 10 * 1024 * 1024]);
    assert!(bomb.len() < 20 * 1024, "{} bytes", bomb.len());
    let sonar = Sonar::answering([answer(&bomb)]);
    let error = Client { answer_bytes_max: 1024 * 1024, ..sonar.cloud() }.branches(&shop()).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    // Packed twice, it is unpacked once.
    let error = failure(answer(&packed(&bomb)));
    assert!(matches!(error, FetchError::NotJson { .. }), "{error}");
    // What says that it is packed and is not, or is damaged, is no answer.
    for bad in [&b"{\"branches\":[]}"[..], &bomb[..1000], &[&bomb[..20], &[0xff; 100]].concat()] {
        let error = failure(answer(bad));
        assert!(matches!(error, FetchError::CutShort { .. }), "{error}");
    }
    // Packed nothings without an end: no byte ever comes out of them.
    let nothing = packed(b"");
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
    let error = endless(head, nothing.repeat(1000), Duration::ZERO).branches(&shop()).unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. } | FetchError::CutShort { .. }), "{error}");
}

#[test]
fn a_head_that_is_too_large_or_contradicts_itself_is_no_answer() {
    let ok = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
    let body = "\r\n{\"branches\":[]}";
    for head in [
        format!("{ok}{}{body}", "X-A: b\r\n".repeat(5_000)),
        format!("{ok}X-A: {}\r\n{body}", "b".repeat(200_000)),
        format!("{ok}Content-Length: -1\r\n{body}"),
        format!("{ok}Content-Length: 99999999999999999999999\r\n{body}"),
        format!("{ok}Content-Length: 5\r\nContent-Length: 15\r\n{body}"),
        format!("{ok}Content-Length: 1000\r\n{body}"),
        format!("{ok}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n{body}"),
        format!("{ok}Transfer-Encoding: chunked\r\n\r\n-1\r\n{body}"),
    ] {
        let error = failure(head.clone().into_bytes());
        let begin: String = head.chars().take(120).collect();
        assert!(matches!(error, FetchError::Unreachable { .. } | FetchError::CutShort { .. }), "{begin:?}: {error}");
    }
}

/// A few bytes a row, and hundreds in memory: what would fill it is refused before it is made.
#[test]
fn many_small_values_are_refused_before_they_fill_the_memory() {
    let list = |one: &str, times: usize| format!("[{}{one}]", format!("{one},").repeat(times));
    let many = SONAR_ANSWER_VALUES_MAX / 2;
    for body in [
        format!("{{\"branches\":{}}}", list("{}", many)),
        format!("{{\"branches\":[],\"x\":{}}}", list("0", 2 * many)),
        format!("{{\"branches\":[{{\"name\":\"{}\"}}]}}", "n".repeat(SONAR_ANSWER_TEXT_BYTES_MAX + 1)),
        format!("{{\"branches\":[],\"x\":{}", "[".repeat(100_000)),
    ] {
        let error = failure(ok_raw(&body));
        let begin = &body[..40];
        assert!(matches!(error, FetchError::TooMuch { .. } | FetchError::NotUnderstood { .. }), "{begin:?}: {error}");
        assert!(error.to_string().len() < 300, "{begin:?}: {error}");
    }
}

fn ok_raw(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Whoever answers with a redirect learns nothing, and nor does whoever it names: another path, port or scheme of the
/// same host is another place, too.
#[test]
fn no_redirect_takes_the_token_anywhere() {
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent"] {
        let other = Sonar::answering([ok("{}")]);
        let to = other.address;
        for location in [format!("http://{to}/x"), "/elsewhere".to_owned(), format!("https://{to}/"), "//x/".to_owned()]
        {
            let error = failure(http(status, &format!("Location: {location}\r\n"), ""));
            assert!(matches!(error, FetchError::Moved { .. }), "{status} {location}: {error}");
        }
        assert_eq!(other.heads(), Vec::<String>::new(), "nobody called there");
    }
}
