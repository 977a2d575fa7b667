//! The gateway under a service manager: sockets that somebody else holds, what it tells, reloads. A shell stands in for
//! systemd: it hands over sockets and environment as sd_listen_fds(3) and sd_notify(3) say, and becomes the gateway.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine as _;
use hydrophone::sys::tls::Identity;

use crate::calls::{Hook, Line, body, deliveries};
use crate::steps::{CLOUD, assert_tells, serve};
use crate::support::gateway::{Gateway, SOON, program};
use crate::support::sonar::Sonar;
use crate::support::{connect, import, tls};

/// What a service manager has for one service.
struct Manager {
    folder: Arc<tempfile::TempDir>,
    told: Receiver<String>,
    environment: Vec<(String, String)>,
}

impl Manager {
    fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        std::fs::DirBuilder::new().mode(0o700).create(folder.path().join("state")).unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        let (heard, told) = channel();
        // Read all the time, as a service manager does: the kernel keeps ten messages, and whoever tells more waits.
        thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(length) = socket.recv(&mut bytes) {
                let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
                if message.is_empty() || heard.send(message).is_err() {
                    return;
                }
            }
        });
        Self { folder, told, environment: Vec::new() }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// A command that runs a shell's script, which has to end in `exec "$0" "$@"`.
    fn command(&self, script: &str) -> Command {
        let notify = self.folder.path().join("notify");
        let sets = self.environment.iter().map(|(name, value)| format!("export {name}='{value}'\n"));
        let sets: String = sets.collect();
        let mut command = Command::new("sh");
        let script = format!("export NOTIFY_SOCKET='{}'\n{sets}{script}", notify.display());
        command.arg("-c").arg(script).arg(program().get_program());
        command
    }

    fn start(&self, flags: &[&str]) -> Gateway {
        let command = self.command(r#"exec "$0" "$@""#);
        Gateway::start_as(command, Arc::clone(&self.folder), flags, [Stdio::null(), Stdio::null()])
            .unwrap_or_else(|log| panic!("the gateway does not start:\n{log}"))
    }

    /// Hands over two sockets by their names.
    fn start_with(&self, names: &str, [first, second]: [OwnedFd; 2], flags: &[&str]) -> Result<Gateway, String> {
        let script = format!(
            r#"export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names}
            exec "$0" "$@" 3<&0 4<&1 0</dev/null 1>/dev/null"#
        );
        Gateway::start_as(self.command(&script), Arc::clone(&self.folder), flags, [first.into(), second.into()])
    }

    /// The next message.
    fn message(&self) -> String {
        self.told.recv_timeout(SOON).expect("the gateway tells something")
    }

    /// Waits for a message that has this in it.
    fn wait_for(&self, text: &str) -> String {
        loop {
            let message = self.message();
            if message.contains(text) {
                return message;
            }
        }
    }

    /// Binds the sockets of webhooks and of the command line.
    fn sockets(&self) -> (TcpListener, UnixListener) {
        let webhook = TcpListener::bind("127.0.0.1:0").unwrap();
        (webhook, UnixListener::bind(self.folder.path().join("state/admin.sock")).unwrap())
    }
}

impl Drop for Manager {
    /// Ends the reading.
    fn drop(&mut self) {
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"", self.folder.path().join("notify")));
    }
}

fn copies(webhook: &TcpListener, local: &UnixListener) -> [OwnedFd; 2] {
    [webhook.try_clone().unwrap().into(), local.try_clone().unwrap().into()]
}

/// A certificate and its key, PEM.
fn pair(name: &str) -> (String, String) {
    let identity = Identity::self_signed(vec![name.to_owned()]).unwrap();
    let pem = |what: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
    };
    (pem("CERTIFICATE", &identity.certificate), pem("PRIVATE KEY", &identity.key))
}

fn put(folder: &Path, (certificate, key): &(String, String)) {
    std::fs::write(folder.join("tls.crt"), certificate).unwrap();
    std::fs::write(folder.join("tls.key"), key).unwrap();
}

/// A restart or an upgrade takes a moment in which nobody would listen, and SonarQube does not call twice. The service
/// manager holds the sockets all the time: whoever calls in that moment waits, and is answered by the next process.
#[test]
fn a_call_between_two_processes_waits_and_is_accepted() {
    let sonar = Sonar::start(CLOUD);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
    });
    let manager = Manager::new();
    let (webhook, local) = manager.sockets();
    let started = || {
        manager
            .start_with("webhook:admin-local", copies(&webhook, &local), &["--webhook-plain"])
            .unwrap_or_else(|log| panic!("the gateway does not start:\n{log}"))
    };
    let mut gateway = started();
    let address = format!("http://{}", webhook.local_addr().unwrap());
    assert_eq!(gateway.address(), address, "the socket that was passed wins over the flag");
    gateway.wait_for_log("webhooks: the service manager passed 127.0.0.1:");
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["shop"]);
    let hook = Hook::of(&gateway, "acme");

    for (number, ends) in [Gateway::stop, Gateway::kill].into_iter().enumerate() {
        drop(ends(gateway));
        let mut line = Line::open(&address);
        line.write(&hook.call(&body("shop", &format!("T{number}"))).bytes());
        gateway = started();
        assert_eq!(line.answer().expect("it is answered").status, 202);
        assert_eq!(deliveries(&gateway).len(), number + 1);
    }
    gateway.stop();
    assert!(manager.folder.path().join("state/admin.sock").exists(), "the socket is the service manager's");
}

#[test]
fn a_socket_that_does_not_fit_its_name_is_refused_with_a_sentence() {
    let manager = Manager::new();
    let (webhook, local) = manager.sockets();
    let [webhook, local] = copies(&webhook, &local);
    let log = manager.start_with("admin-local:webhook", [webhook, local], &[]).err().expect("it does not start");
    assert_tells(&log, &["passed a socket named admin-local", "no listening unix socket", "ListenStream="]);
    let told = manager.wait_for("STATUS=does not start");
    assert_tells(&told, &["admin-local"]);
}

#[test]
fn a_socket_of_an_unknown_name_is_left_alone_and_off_is_not_heeded_for_one_that_is_known() {
    let manager = Manager::new();
    let (webhook, local) = manager.sockets();
    std::fs::remove_file(manager.folder.path().join("state/admin.sock")).unwrap();
    let gateway = manager.start_with("webhook:admin", copies(&webhook, &local), &["--webhook-listen", "off"]).unwrap();
    gateway.wait_for_log("a socket named \"admin\", which is left alone");
    gateway.wait_for_log("`--webhook-listen off` is not heeded");
    assert_eq!(gateway.address(), format!("https://{}", webhook.local_addr().unwrap()));
    assert_eq!(gateway.json(&["status"])["ready"], true, "the command line's socket was made here");
}

#[test]
fn a_life_under_a_service_manager_is_told_from_beginning_to_end() {
    // A quarter of this is the time between two looks.
    let manager = Manager::new().with("WATCHDOG_USEC", "400000");
    let gateway = manager.start(&[]);
    assert_tells(&manager.message(), &["STATUS=opening the database"]);
    assert_tells(&manager.wait_for("READY=1"), &["STATUS=takes webhooks on https://127.0.0.1:"]);
    assert_tells(&manager.wait_for("STATUS="), &["takes webhooks on ", "; sources 0, projects 0, open findings 0"]);
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    gateway.reload();
    assert_tells(&manager.wait_for("RELOADING=1"), &["MONOTONIC_USEC="]);
    assert_tells(&manager.wait_for("READY=1"), &["; reloaded: nothing has changed"]);
    gateway.stop();
    manager.wait_for("STOPPING=1");
}

#[test]
fn a_reload_shows_another_certificate_and_keeps_it_when_the_next_one_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new().with("CONFIGURATION_DIRECTORY", folder.path().to_str().unwrap());
    let gateway = manager.start(&[]);
    manager.wait_for("READY=1");
    let address = gateway.address().trim_start_matches("https://").to_owned();
    let own = tls::certificate_of(&address);

    let first = pair("first.example");
    put(folder.path(), &first);
    assert_eq!(tls::certificate_of(&address), own, "nobody has asked for it");
    gateway.reload();
    assert_tells(&manager.wait_for("READY=1"), &["reloaded: the listeners show another certificate, CN=Hydrophone"]);
    assert_eq!(tls::certificate_of(&address), first.0);
    assert!(!gateway.json(&["status"])["conditions"].to_string().contains("certificate_broken"));

    std::fs::write(folder.path().join("tls.key"), pair("second.example").1).unwrap();
    gateway.reload();
    let told = manager.wait_for("READY=1");
    assert_tells(&told, &["the listeners show the former certificate", "tls.key: the key does not belong to"]);
    assert_eq!(tls::certificate_of(&address), first.0);
    let conditions = gateway.json(&["status"])["conditions"].to_string();
    assert_tells(
        &conditions,
        &["certificate_broken", "tls.key: the key does not belong to", "systemctl reload hydrophone"],
    );

    std::fs::remove_file(folder.path().join("tls.crt")).unwrap();
    std::fs::remove_file(folder.path().join("tls.key")).unwrap();
    gateway.reload();
    manager.wait_for("READY=1");
    assert_eq!(tls::certificate_of(&address), own, "without files the box's own is shown");
}

#[test]
fn the_log_shows_more_as_soon_as_the_setting_says_so() {
    let gateway = Gateway::start();
    let debug = "a webhook connection";
    assert!(!gateway.log().contains(debug));
    for level in ["loud", "info,=debug", "debug,"] {
        let said = gateway.cli(&["config", "set", "log-level", level]);
        assert_eq!(said.code, 1, "{said:?}");
        assert_tells(&said.err, &["log-level must be error, warn, info, debug or trace"]);
    }
    assert_eq!(gateway.cli(&["config", "set", "log-level", "info,hydrophone::ingress=debug"]).code, 0);
    // Not TLS: the handshake fails, which only `debug` tells.
    let address = gateway.address().trim_start_matches("https://").to_owned();
    let mut line = Line::open(&format!("http://{address}"));
    line.write(b"GET / HTTP/1.1\r\n\r\n");
    gateway.wait_for_log(debug);
}

/// Where a certificate lies that cannot be used, the gateway does not show another one instead: whoever put it there
/// would not notice before Sonar's calls fail.
#[test]
fn a_broken_certificate_is_refused_at_start_with_its_file() {
    let manager = Manager::new();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let (good, other) = (pair("good.example"), pair("other.example"));
    let state = manager.folder.path().join("state");
    let line = ["--state", state.to_str().unwrap(), "--webhook-listen", "127.0.0.1:0"];
    let manager = manager.with("CONFIGURATION_DIRECTORY", folder.path().to_str().unwrap());
    for (certificate, key, words) in [
        (
            "nothing",
            good.1.as_str(),
            ["tls.crt: the certificate's file holds no certificate in PEM form", "convert it"],
        ),
        (
            good.0.as_str(),
            "nothing",
            ["tls.key: the key's file holds no private key in PEM form", "give the private key"],
        ),
        (good.0.as_str(), other.1.as_str(), ["tls.key: the key does not belong to the certificate", "was made with"]),
    ] {
        put(folder.path(), &(certificate.to_owned(), key.to_owned()));
        let said = serve(&mut manager.command(r#"exec "$0" "$@""#), &line);
        assert_eq!(said.code, 78, "{said:?}");
        assert_tells(&said.err, &[&["certificate for the listeners cannot be used"][..], &words].concat());
        assert_tells(&manager.wait_for("STATUS=does not start"), &words);
    }
    std::fs::remove_file(file("tls.key")).unwrap();
    let said = serve(&mut manager.command(r#"exec "$0" "$@""#), &line);
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(&said.err, &["tls.crt and no ", "tls.key", "put both there, or neither"]);
    let named = file("mine.crt");
    let flags = ["--tls-cert", named.to_str().unwrap(), "--tls-key", named.to_str().unwrap()];
    let said = serve(&mut program(), &[&line[..], &flags].concat());
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(&said.err, &["mine.crt cannot be read", "No such file", "chown root:hydrophone"]);
}
