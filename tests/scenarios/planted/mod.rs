//! Secrets of known text are planted wherever the box takes one, and then everything that leaves it is searched for them, in
//! every form: files, logs, answers, pages, what commands print. Each place that shows a secret on purpose is named here.

mod needles;

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hydrophone::domain::access::Role;
use hydrophone::domain::ids::SourceName;
use hydrophone::store::records::{SecretBytes, Source};
use hydrophone::store::{Store, StoreError, catalogue, settings};
use hydrophone::sys::bell::Bell;
use serde_json::{Value, json};

use self::needles::Needles;
use crate::calls::{Hook, body};
use crate::steps::{NEWEST_SERVER, sonar_with, text};
use crate::support::gateway::{Gateway, program};
use crate::support::https::{Answer, ask};
use crate::support::sonar::Sonar;
use crate::support::{connect_with, import};

const PASSWORD: &str = "planted password \"of ines\"";
const FORMER_SECRET: &str = "planted former webhook+secret/1";
const PRESENT_SECRET: &str = "planted present webhook+secret/2";
const PASSPHRASE: &str = "planted passphrase of <the> backup";
const PROXY_PASSWORD: &str = "planted-proxy-password-of-a-source";
const OTHER_PROXY_PASSWORD: &str = "planted-proxy-password-of-a-destination";
const PLATFORM_TOKEN: &str = "planted-token-of-defectdojo";
const OTHER_TOKEN: &str = "planted-token-of-a-source-behind-a-proxy";
const PROPERTY: &str = "planted-property-of-an-analysis";

/// A box that holds a secret of every kind.
struct Planted {
    gateway: Gateway,
    page: String,
    needles: Needles,
    /// Of a browser, for each role.
    cookies: Vec<(Role, String)>,
}

fn state_of(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("state")
}

/// A source whose proxy takes a password, and does not answer: what is said of it must not hold that.
fn behind_a_proxy(state: &Path) {
    let store = Store::open(state, Arc::new(Bell::default())).unwrap();
    let source = Source {
        name: SourceName::parse("behind").unwrap(),
        cloud: false,
        url: "https://sonar.invalid".to_owned(),
        api_url: None,
        ca_pem: None,
        proxy: Some(format!("http://box:{PROXY_PASSWORD}@127.0.0.1:9").into()),
        webhook_url: None,
        version: None,
        standard_mode: false,
        checked_at: None,
        token_expires_at: None,
        error: None,
        organizations: Vec::new(),
        unsorted: false,
        filters: std::collections::BTreeMap::new(),
        at: None,
    };
    let token = SecretBytes::new(OTHER_TOKEN.as_bytes().to_vec());
    store.write::<_, StoreError>(move |batch| catalogue::put_source(batch, &source, Some(&token))).unwrap();
    store.close();
}

fn start(folder: Arc<tempfile::TempDir>) -> Gateway {
    let mut command = program();
    command.env("HYDROPHONE_LOG", "trace");
    let flags = ["--admin-listen", "127.0.0.1:0"];
    Gateway::start_as(command, folder, &flags, [Stdio::null(), Stdio::null()]).unwrap_or_else(|log| panic!("{log}"))
}

impl Planted {
    fn start(sonar: &Sonar) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        behind_a_proxy(&state_of(&folder));
        let gateway = start(folder);
        let mut needles = Needles::default();
        let mut plant = |what: &str, secret: &str| needles.add(what, secret.as_bytes());
        gateway.json(&["config", "set", "seal-bodies", "yes"]);
        connect_with(&gateway, sonar, sonar.admin_token());
        plant("the token of a source", sonar.admin_token());
        plant("the token of a source behind a proxy", OTHER_TOKEN);
        plant("the password of a source's proxy", PROXY_PASSWORD);
        import(&gateway, "sonar", &["shop"]);
        gateway.json_with(&["webhook", "secret", "sonar", "--secret-file", "-"], FORMER_SECRET);
        gateway.json(&["webhook", "rotate", "sonar"]);
        gateway.json_with(&["webhook", "secret", "sonar", "--project", "shop", "--secret-file", "-"], PRESENT_SECRET);
        plant("the former secret of a webhook", FORMER_SECRET);
        plant("a webhook's own secret", PRESENT_SECRET);
        let hook = Hook::of(&gateway, "sonar");
        plant("a webhook's new secret", &hook.secret);
        let property = format!(r#""properties":{{"sonar.analysis.token":"{PROPERTY}"}}"#);
        let body = body("shop", "T1").replace(r#""properties":{}"#, &property);
        assert!(body.contains(PROPERTY));
        hook.accepted(&body);
        plant("a property of an analysis", PROPERTY);
        let dojo = ["destination", "add", "defectdojo", "dojo", "--url", "https://dojo.invalid", "--unchecked"];
        let token = gateway.folder().join("token");
        std::fs::write(&token, PLATFORM_TOKEN).unwrap();
        let proxied = ["--token-file", token.to_str().unwrap(), "--proxy-file", "-"];
        let proxy = format!("http://me:{OTHER_PROXY_PASSWORD}@127.0.0.1:9");
        gateway.json_with(&[&dojo[..], &proxied].concat(), &proxy);
        std::fs::remove_file(token).unwrap();
        plant("the token of a destination", PLATFORM_TOKEN);
        plant("the password of a destination's proxy", OTHER_PROXY_PASSWORD);
        let events = ["destination", "add", "events", "siem", "--url", "https://siem.invalid", "--unchecked"];
        let made = text(&gateway.json(&events), "secret");
        plant("the secret of signed events", &made);
        plant("the secret of signed events without its prefix", made.trim_start_matches("whsec_"));
        let token = text(&gateway.json(&["token", "add", "ci", "--role", "admin"]), "secret");
        plant("an API token", &token);
        let invited = gateway.json(&["user", "add", "olga", "--role", "viewer"]);
        plant("the code of a new user", &text(&invited, "code"));
        plant("a password", PASSWORD);
        plant("the passphrase of a backup", PASSPHRASE);
        let page = text(&gateway.json(&["status"]), "page");
        let mut cookies = Vec::new();
        for role in Role::ALL {
            let name = format!("the-{role}");
            gateway.json_with(&["user", "add", &name, "--role", role.as_str(), "--password-file", "-"], PASSWORD);
            let login = json!({ "user": name, "password": PASSWORD }).to_string();
            let answer = ask(&page, "POST", "/api/v1/session", &[("Content-Type", "application/json")], &login);
            let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie");
            plant("the cookie of a login", cookie.split('=').nth(1).unwrap());
            cookies.push((role, cookie.to_owned()));
        }
        let mut planted = Self { gateway, page, needles, cookies };
        planted.plant_key();
        planted
    }

    /// The key of the box, as its file has it and as it is.
    fn plant_key(&mut self) {
        let key = std::fs::read_to_string(self.gateway.state().join("hydrophone.key")).unwrap();
        let bytes = (0..32).map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).unwrap());
        self.needles.add("the sealing key", &bytes.collect::<Vec<_>>());
    }

    fn ask(&self, method: &str, path: &str, cookie: &str, kind: &str, body: &str) -> Answer {
        let headers = [("Cookie", cookie), ("Origin", self.page.as_str()), ("Content-Type", kind)];
        ask(&self.page, method, path, &headers, body)
    }

    fn assert_none_in(&self, place: &str, answer: &Answer) {
        self.needles.assert_none_in(place, format!("{answer:?}"));
        self.needles.assert_none_in(place, &answer.body);
    }
}

#[test]
fn no_planted_secret_leaves_the_box_by_its_api_its_pages_or_its_log() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let planted = Planted::start(&sonar);
    let admin = &planted.cookies.iter().find(|(role, _)| *role == Role::Admin).unwrap().1;
    // Every GET of the API, by every role.
    let described = planted.ask("GET", "/api/v1/openapi.json", admin, "", "").json();
    let finding = text(&planted.gateway.json(&["finding", "list"])["findings"][0], "id");
    let delivery = text(&planted.gateway.json(&["delivery", "list"])["deliveries"][0], "id");
    let mut answered = 0;
    for (path, operations) in described["paths"].as_object().unwrap() {
        // What it tells is the names of what changed; it has no end.
        if operations.get("get").is_none() || path.ends_with("/events") {
            continue;
        }
        let named = match path.split('/').nth(1).unwrap() {
            "assets" => "Web%20shop",
            "destinations" => "dojo",
            _ => "sonar",
        };
        let filled = path.replace("{organization}", "sonar").replace("{source}", "sonar").replace("{name}", named);
        let key = if path.contains("/rules/") { "java:S3649" } else { "shop" };
        let id = if path.contains("/findings/") { &finding } else { &delivery };
        let address = filled.replace("{key}", key).replace("{id}", id);
        let address = format!("/api/v1{address}");
        let format = match path.as_str() {
            "/findings/export" => "?format=json",
            "/audit/export" => "?format=csv",
            _ => "",
        };
        let address = address + format;
        for (role, cookie) in &planted.cookies {
            let answer = planted.ask("GET", &address, cookie, "", "");
            planted.assert_none_in(&format!("GET {address} for {role}"), &answer);
            let expected = match path.as_str() {
                // Nobody answers where the destination is.
                path if path.ends_with("/targets") => 502,
                // None is set up.
                "/certificate/acme" => 404,
                _ => 200,
            };
            assert!(*role != Role::Admin || answer.status == expected, "GET {address}: {answer:?}");
            answered += usize::from(answer.status == 200);
        }
    }
    assert!(answered > 70, "{answered}");
    for path in ["/metrics", "/livez", "/readyz"] {
        planted.assert_none_in(path, &planted.ask("GET", path, admin, "", ""));
    }
    every_page(&planted);
    wrong_input(&planted, admin);
    planted.needles.assert_none_in("the log", planted.gateway.log());
}

/// Every page that a link leads to, by every role.
fn every_page(planted: &Planted) {
    let links = |html: &str| -> Vec<String> {
        let after = html.split(" href=\"").skip(1).filter_map(|rest| rest.split(['"', '#']).next());
        after.filter(|link| link.starts_with('/')).map(|link| link.replace("&amp;", "&")).collect()
    };
    for (role, cookie) in &planted.cookies {
        let mut found: BTreeSet<String> = BTreeSet::from(["/".to_owned()]);
        let mut ahead: VecDeque<String> = VecDeque::from(["/".to_owned()]);
        while let Some(address) = ahead.pop_front() {
            let answer = planted.ask("GET", &address, cookie, "", "");
            planted.assert_none_in(&format!("{address} for {role}"), &answer);
            let onward = answer.header("location").map(str::to_owned);
            for link in links(&answer.body).into_iter().chain(onward) {
                if found.insert(link.clone()) {
                    assert!(found.len() < 300, "there is no end of links: {found:?}");
                    ahead.push_back(link);
                }
            }
        }
        assert!(found.len() > 15, "{found:?}");
    }
}

/// What is wrong may be told, and not what was sent to be kept secret.
fn wrong_input(planted: &Planted, admin: &str) {
    const WRONG: &str = "planted-wrong-secret-0123456789";
    let mut needles = Needles::default();
    needles.add("what was sent", WRONG.as_bytes());
    let json =
        |method: &'static str, path: &'static str, body: Value| (method, path, "application/json", body.to_string());
    let form = |path: &'static str, body: String| ("POST", path, "application/x-www-form-urlencoded", body);
    let with_login = format!("https://me:{WRONG}@host.invalid/x");
    let events = |secret: &str, url: &str, proxy: Option<&str>| json!({ "name": "new", "kind": "events", "url": url, "secret": secret, "proxy": proxy });
    let tried = [
        json("PUT", "/api/v1/sources/sonar/token", json!({ "token": WRONG })),
        json("PUT", "/api/v1/sources/sonar/token", json!({ "token": format!("{WRONG}\u{1}\n") })),
        json("PUT", "/api/v1/sources/sonar/token", json!({ "token": [WRONG] })),
        ("PUT", "/api/v1/sources/sonar/token", "application/json", format!(r#"{{"token":"{WRONG}""#)),
        json(
            "POST",
            "/api/v1/sources",
            json!({ "name": "a b", "kind": "server", "url": "https://s.invalid", "token": WRONG }),
        ),
        json("POST", "/api/v1/sources", json!({ "name": "ab", "kind": "server", "url": with_login, "token": WRONG })),
        json(
            "POST",
            "/api/v1/sources",
            json!({ "name": "ab", "kind": "server", "url": "https://127.0.0.1:9", "token": WRONG,
            "proxy": format!("http://me:{WRONG}@127.0.0.1:9") }),
        ),
        json(
            "POST",
            "/api/v1/sources",
            json!({ "name": "ab", "kind": "server", "url": "https://127.0.0.1:9", "token": WRONG,
            "proxy": format!("ftp://me:{WRONG}@[127.0.0.1:9") }),
        ),
        json("POST", "/api/v1/destinations", events(WRONG, "https://host.invalid", None)),
        json("POST", "/api/v1/destinations", events(&format!("whsec_{WRONG}"), "https://host.invalid", None)),
        json("POST", "/api/v1/destinations", events("", &with_login, None)),
        json("POST", "/api/v1/destinations", events("", "https://h.invalid", Some(&format!("http://me:{WRONG}@[bad")))),
        json("PATCH", "/api/v1/destinations/dojo", json!({ "secret": format!("{WRONG}\n\u{7f}"), "check": true })),
        json("PUT", "/api/v1/organizations/sonar/webhook/secret", json!({ "secret": WRONG.repeat(9) })),
        json("POST", "/api/v1/session", json!({ "user": "the-admin", "password": WRONG })),
        json("POST", "/api/v1/session", json!({ "user": "the-admin", "password": { "a": WRONG } })),
        json("POST", "/api/v1/setup", json!({ "user": "olga", "code": WRONG, "password": WRONG })),
        json("POST", "/api/v1/users", json!({ "name": "a b", "role": "admin", "password": WRONG })),
        json("POST", "/api/v1/users", json!({ "name": "ab", "role": "admin", "password": WRONG.repeat(99) })),
        json("POST", "/api/v1/backup", json!({ "wrapping": WRONG })),
        form("/sign-in", format!("account=the-admin&password={WRONG}")),
        // The code goes along with the form, so that whoever has it may try again; it is told only to who sent it.
        form("/setup", format!("user=olga&code=0123&password={WRONG}")),
        form("/connect/source", format!("kind=server&name=a+b&url=https%3A%2F%2Fs.invalid&token={WRONG}")),
        form("/connect/source", format!("kind=server&name=ab&url=https%3A%2F%2F127.0.0.1%3A9&token={WRONG}")),
        form("/destinations/add", format!("kind=events&name=a+b&url=https%3A%2F%2Fs.invalid&secret={WRONG}")),
    ];
    for (method, path, kind, body) in &tried {
        let answer = planted.ask(method, path, admin, kind, body);
        let place = format!("the answer to {method} {path} {body}");
        needles.assert_none_in(&place, format!("{answer:?}"));
        needles.assert_none_in(&place, &answer.body);
    }
    for (name, value) in [("Authorization", format!("Bearer {WRONG}")), ("Cookie", format!("__Host-session={WRONG}"))] {
        let answer = ask(&planted.page, "GET", "/api/v1/status", &[(name, &value)], "");
        assert_eq!(answer.status, 401);
        needles.assert_none_in(name, format!("{answer:?}"));
    }
    let piped = [
        &["source", "token", "sonar", "--token-file", "-"][..],
        &["webhook", "secret", "sonar", "--secret-file", "-"],
        &["destination", "add", "events", "new", "--url", "https://h.invalid", "--secret-file", "-"],
    ];
    for line in piped {
        let said = planted.gateway.cli_with(line, &format!("{}\u{1}ä", WRONG.repeat(9)));
        assert_ne!(said.code, 0, "{line:?}: {said:?}");
        needles.assert_none_in(&format!("{line:?}"), format!("{said:?}"));
    }
    needles.assert_none_in("the log", planted.gateway.log());
    needles.assert_none_in("the audit log", planted.gateway.cli(&["--json", "audit"]).out);
}

#[test]
fn no_planted_secret_is_in_what_a_command_prints_or_in_the_list_of_processes() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let planted = Planted::start(&sonar);
    let gateway = &planted.gateway;
    let finding = text(&gateway.json(&["finding", "list"])["findings"][0], "id");
    let delivery = text(&gateway.json(&["delivery", "list"])["deliveries"][0], "id");
    let lines: &[&[&str]] = &[
        &["status"],
        &["source", "list"],
        &["source", "check", "sonar"],
        &["organization", "list"],
        &["project", "list", "sonar"],
        &["project", "show", "sonar", "shop"],
        &["asset", "list"],
        &["webhook", "show", "sonar"],
        &["webhook", "show", "sonar", "--project", "shop"],
        &["webhook", "test", "sonar"],
        &["delivery", "list"],
        &["delivery", "show", &delivery],
        &["delivery", "replay", &delivery],
        &["sync", "--wait", "--timeout", "20"],
        &["finding", "list"],
        &["finding", "show", &finding],
        &["destination", "list"],
        &["destination", "show", "dojo"],
        &["destination", "show", "siem"],
        &["destination", "preview", "siem"],
        &["destination", "mapping", "dojo"],
        &["destination", "dead-letters", "dojo"],
        &["export", "--format", "json"],
        &["export", "--format", "sarif"],
        &["config", "show"],
        &["config", "export"],
        &["user", "list"],
        &["token", "list"],
        &["audit"],
        &["audit", "--export", "jsonl"],
        &["key", "show"],
        &["verify"],
    ];
    // These wait for what does not answer, and say the same in both forms.
    let slow: &[&[&str]] = &[
        &["--json", "doctor"],
        &["source", "check", "behind"],
        &["destination", "check", "dojo"],
        &["destination", "check", "siem"],
    ];
    for line in slow.iter().chain(lines) {
        let json = [&["--json"][..], line].concat();
        let forms = if slow.contains(line) { vec![line.to_vec()] } else { vec![line.to_vec(), json] };
        for line in forms {
            let said = gateway.cli(&line);
            planted.needles.assert_none_in(&format!("{line:?}"), format!("{said:?}"));
            planted.needles.assert_none_in(&format!("{line:?}"), said.out + &said.err);
        }
    }
    for file in ["cmdline", "environ"] {
        // Of a process that keeps its memory to itself only root is told the environment.
        if let Ok(shown) = std::fs::read(format!("/proc/{}/{file}", gateway.id())) {
            planted.needles.assert_none_in(file, shown);
        }
    }
    planted.needles.assert_none_in("the log", gateway.log());
}

#[test]
fn no_planted_secret_is_in_a_file_that_the_box_writes() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let mut planted = Planted::start(&sonar);
    let folder = planted.gateway.folder().to_owned();
    let path = |name: &str| folder.join(name).display().to_string();
    let (plain, keyed, bundle) = (path("plain.bak"), path("keyed.bak"), path("bundle.json"));
    planted.gateway.json(&["backup", &plain]);
    planted.gateway.json_with(&["backup", &keyed, "--with-keys", "--passphrase-file", "-"], PASSPHRASE);
    planted.gateway.cli(&["doctor", "--bundle", &bundle]);
    // It writes the nightly copy anew.
    planted.gateway.json(&["key", "rotate"]);
    planted.plant_key();
    let Planted { gateway, mut needles, .. } = planted;
    needles.assert_none_in("the log", gateway.log());
    let kept = gateway.stop();
    // What the box made for itself, nobody was ever told.
    let store = Store::open(&state_of(&kept), Arc::new(Bell::default())).unwrap();
    let key = store.read::<_, StoreError>(|view| settings::secret(view, "tls/webhook/key")).unwrap().unwrap();
    store.close();
    needles.add("the key of the certificate", key.as_bytes());
    let mut files = 0;
    for folder in [folder.clone(), state_of(&kept)] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !path.is_file() {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let mut found = needles.found_in(&bytes);
            if name == "hydrophone.key" {
                found.retain(|what| !what.starts_with("the sealing key"));
            }
            assert!(found.is_empty(), "in {name}: {found:?}");
            files += 1;
        }
    }
    // Database, nightly copy, key; two backups and the bundle.
    assert!(files >= 6, "{files}");
}

/// A core of the process would hold every key and token.
#[test]
fn a_crash_leaves_no_core() {
    let unlimited = |script: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -c unlimited 2>/dev/null; {script}"));
        command
    };
    let folder = Arc::new(tempfile::tempdir().unwrap());
    // Where the system writes none at all, that it did not proves nothing.
    let mut other = unlimited("cd \"$0\" && kill -ABRT $$");
    let control = other.arg(folder.path()).status().unwrap();
    assert_eq!(control.signal(), Some(rustix::process::Signal::ABORT.as_raw()));
    if !control.core_dumped() {
        eprintln!("this system writes no cores: nothing was proven");
    }
    let mut command = unlimited(r#"cd "$1" && shift && exec "$0" "$@""#);
    command.arg(program().get_program()).arg(folder.path());
    let gateway = Gateway::start_as(command, folder, &[], [Stdio::null(), Stdio::null()]).unwrap();
    let status = gateway.aborted();
    assert_eq!((status.signal(), status.core_dumped()), (Some(rustix::process::Signal::ABORT.as_raw()), false));
}
