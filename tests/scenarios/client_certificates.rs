//! The page behind certificates of its users: who shows none that one of the named authorities signed is answered nothing,
//! and who does logs in as everybody does.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, StreamOwned};

use crate::steps::{assert_tells, serve};
use crate::support::gateway::{Gateway, SOON, program};
use crate::support::tls;

/// Somebody who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
type Shown = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    fn sign(&self, purpose: ExtendedKeyUsagePurpose, until: i32) -> Shown {
        let mut parameters = CertificateParams::new(vec!["ines.example".to_owned()]).unwrap();
        parameters.extended_key_usages = vec![purpose];
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// A certificate of somebody who may come in.
    fn client(&self) -> Shown {
        self.sign(ExtendedKeyUsagePurpose::ClientAuth, 2090)
    }
}

struct Scene {
    gateway: Gateway,
    page: String,
    file: PathBuf,
}

impl Scene {
    fn new(authorities: &[&Authority]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let file = folder.path().join("clients.crt");
        std::fs::write(&file, authorities.iter().map(|one| one.pem.as_str()).collect::<String>()).unwrap();
        let flags = ["--admin-listen", "127.0.0.1:0", "--admin-client-ca", file.to_str().unwrap()];
        let gateway = Gateway::start_in(Arc::clone(&folder), &flags).unwrap_or_else(|log| panic!("{log}"));
        let page = gateway.json(&["status"])["page"].as_str().unwrap().trim_start_matches("https://").to_owned();
        Self { gateway, page, file }
    }

    fn open(&self, shown: Option<&Shown>) -> StreamOwned<ClientConnection, TcpStream> {
        let config = tls::config(shown.map(|(certificate, key)| (certificate.clone(), key.clone_key())));
        let connection = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        let stream = TcpStream::connect(&self.page).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        StreamOwned::new(connection, stream)
    }

    /// The status that a path is answered; nothing if the connection ends instead.
    fn ask(&self, shown: Option<&Shown>, path: &str) -> Option<u16> {
        status(&mut self.open(shown), path)
    }
}

fn status(stream: &mut StreamOwned<ClientConnection, TcpStream>, path: &str) -> Option<u16> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).ok()?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).ok().filter(|&length| length > 12)?;
    String::from_utf8_lossy(&answer[..length]).split(' ').nth(1)?.parse().ok()
}

#[test]
fn only_who_shows_a_certificate_of_a_named_authority_is_answered_and_logs_in_all_the_same() {
    let [ours, second, foreign] = ["ours", "second", "foreign"].map(Authority::new);
    let scene = Scene::new(&[&ours, &second]);
    for (what, shown) in [
        ("nothing", None),
        ("one of a foreign authority", Some(foreign.client())),
        ("one that has expired", Some(ours.sign(ExtendedKeyUsagePurpose::ClientAuth, 2021))),
        ("one for a server", Some(ours.sign(ExtendedKeyUsagePurpose::ServerAuth, 2090))),
    ] {
        for path in ["/livez", "/", "/api/v1/openapi.json"] {
            assert_eq!(scene.ask(shown.as_ref(), path), None, "{what}");
        }
    }
    for authority in [&ours, &second] {
        let shown = authority.client();
        assert_eq!(scene.ask(Some(&shown), "/livez"), Some(200));
        assert_eq!(scene.ask(Some(&shown), "/api/v1/status"), Some(401), "the login is needed as well");
    }
    // Webhooks come from SonarQube, which shows none; and the socket is its file's permission.
    let webhooks = scene.gateway.address().trim_start_matches("https://").to_owned();
    assert!(
        tls::exchange(&webhooks, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 404")
    );
    assert_eq!(scene.gateway.json(&["status"])["ready"], true);
}

#[test]
fn a_reload_believes_other_authorities_and_keeps_the_former_where_the_file_is_broken_or_gone() {
    let [first, second] = ["first", "second"].map(Authority::new);
    let scene = Scene::new(&[&first]);
    let (of_first, of_second) = (first.client(), second.client());
    let mut open = scene.open(Some(&of_first));
    assert_eq!(status(&mut open, "/livez"), Some(200));

    std::fs::write(&scene.file, &second.pem).unwrap();
    scene.gateway.reload();
    scene.gateway.wait_for_log("the page asks for certificates of other authorities");
    assert_eq!((scene.ask(Some(&of_first), "/livez"), scene.ask(Some(&of_second), "/livez")), (None, Some(200)));
    assert_eq!(status(&mut open, "/livez"), Some(200), "a connection that is open stays");

    let conditions = || scene.gateway.json(&["status"])["conditions"].to_string();
    assert!(!conditions().contains("admin_client_ca_broken"));
    std::fs::write(&scene.file, "nothing").unwrap();
    scene.gateway.reload();
    scene.gateway.wait_for_log("asks for certificates of the former authorities");
    assert_tells(
        &conditions(),
        &["admin_client_ca_broken", "clients.crt: it holds no certificate", "systemctl reload"],
    );
    assert_eq!((scene.ask(None, "/livez"), scene.ask(Some(&of_second), "/livez")), (None, Some(200)));

    std::fs::remove_file(&scene.file).unwrap();
    scene.gateway.reload();
    scene.gateway.wait_for_log("clients.crt cannot be read: No such file");
    assert_eq!((scene.ask(None, "/livez"), scene.ask(Some(&of_second), "/livez")), (None, Some(200)));

    std::fs::write(&scene.file, first.pem.clone() + &second.pem).unwrap();
    scene.gateway.reload();
    scene.gateway.wait("the condition to go", |_| (!conditions().contains("admin_client_ca_broken")).then_some(()));
    assert_eq!((scene.ask(Some(&of_first), "/livez"), scene.ask(Some(&of_second), "/livez")), (Some(200), Some(200)));
}

/// A session that is taken up again shows no certificate: it must not outlive the authority that it was begun with.
/// Browsers remember theirs, and so does this client.
#[test]
fn no_session_is_taken_up_again_without_its_certificate() {
    let [first, second] = ["first", "second"].map(Authority::new);
    let scene = Scene::new(&[&first]);
    let (certificate, key) = first.client();
    let config = tls::config(Some((certificate, key)));
    let ask = || {
        let connection =
            ClientConnection::new(Arc::clone(&config), ServerName::try_from("localhost").unwrap()).unwrap();
        let stream = TcpStream::connect(&scene.page).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        status(&mut StreamOwned::new(connection, stream), "/livez")
    };
    assert_eq!((ask(), ask()), (Some(200), Some(200)));
    std::fs::write(&scene.file, &second.pem).unwrap();
    scene.gateway.reload();
    scene.gateway.wait_for_log("the page asks for certificates of other authorities");
    assert_eq!(ask(), None);
}

#[test]
fn authorities_that_cannot_be_read_keep_the_page_from_being_served_to_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let (state, file) = (folder.path().join("state"), folder.path().join("clients.crt"));
    let line = ["--state", state.to_str().unwrap(), "--webhook-listen", "off", "--admin-listen", "127.0.0.1:0"];
    let line = [&line[..], &["--admin-client-ca", file.to_str().unwrap()]].concat();
    let said = serve(&mut program(), &line);
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(&said.err, &["authorities for clients of the page", "clients.crt cannot be read: No such file"]);
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let said = serve(&mut program(), &line);
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(&said.err, &["clients.crt: certificate 1 in it cannot be read", "PEM form"]);
}
