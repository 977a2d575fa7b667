//! Bad input gets a clear error, and nothing is lost. Each story reads the message as a person would: it says what
//! happened, to what, and what to do; it holds no secret; and the inventory is as it was.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::steps::{
    ALL_STATES, CLOUD, NEWEST_SERVER, add_source, alone, assert_refused, assert_tells, branch, holding_shop, inventory,
    organization, serve, states, sync,
};
use crate::support::damage::make_newer;
use crate::support::gateway::{Gateway, Said, program, run};
use crate::support::sonar::{Browse, Fault, Issue, Mode, Sonar};
use crate::support::{connect, connect_with, findings, import};

fn sonar_with_shop(mode: Mode) -> Sonar {
    let sonar = Sonar::start(mode);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", 12).with_key("A"));
        model.add_issue("shop", "main", Issue::vulnerability("java:S5131", "src/b.java", 3).with_key("B"));
    });
    sonar
}

fn nothing_stored(gateway: &Gateway) {
    assert_eq!(gateway.json(&["source", "list"])["sources"], Value::Array(vec![]));
}

// --- Connecting ---

#[test]
fn a_wrong_token_is_told_and_no_source_is_stored() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let (sonar, gateway) = (Sonar::start(mode), Gateway::start());
        let said = add_source(&gateway, &sonar, "sonar", "squ_wrong", &[]);
        assert_refused(&said, &[&sonar.url(), "does not accept this token", "hint: make a new one in Sonar"]);
        nothing_stored(&gateway);
    }
}

#[test]
fn an_expired_token_is_told_when_connecting() {
    let (sonar, gateway) = (Sonar::start(CLOUD), Gateway::start());
    sonar.edit(|model| model.add_token("squ_old", Browse::All).expires = Some(1_700_000_000));
    let said = add_source(&gateway, &sonar, "sonar", "squ_old", &[]);
    assert_refused(&said, &["expired", "make a new one"]);
    nothing_stored(&gateway);
}

#[test]
fn a_token_that_expires_later_closes_nothing_and_a_new_one_heals_it() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = Gateway::start();
    sonar.edit(|model| model.add_token("squ_passing", Browse::All).admin = false);
    connect_with(&gateway, &sonar, "squ_passing");
    import(&gateway, "acme", &["shop"]);
    sonar.edit(|model| model.token_mut("squ_passing").expires = Some(1_700_000_000));

    let said = gateway.cli(&["sync", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_tells(
        &said.err,
        &["shop", "refused the token (HTTP 401)", "hydrophone source token sonar --token-file FILE"],
    );
    assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
    let status = gateway.cli(&["status"]);
    assert_tells(&status.out, &["source_refused", "source sonar:", "hydrophone source check sonar"]);
    assert_tells(&gateway.cli(&["source", "list"]).out, &["refused the token"]);

    let refused = gateway.refused(&["source", "token", "sonar", "--token-file", "-"], "squ_wrong");
    assert_tells(&refused, &["does not accept this token"]);
    let said = gateway.cli_with(&["source", "token", "sonar", "--token-file", "-"], sonar.token());
    assert_eq!((said.code, said.out.as_str()), (0, "Replaced the token of sonar.\n"), "{said:?}");
    sync(&gateway);
    assert_eq!(branch(&gateway, "acme", "shop", "main")["error"], Value::Null);
    assert!(!gateway.cli(&["status"]).out.contains("source_refused"));
}

#[test]
fn a_token_without_permission_is_told_at_import_and_closes_nothing_later() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with_shop(mode);
        let gateway = Gateway::start();
        sonar.edit(|model| model.add_token("squ_blind", Browse::None).admin = false);
        connect_with(&gateway, &sonar, "squ_blind");
        let organization = organization(&sonar);
        let said = gateway.cli(&["project", "import", organization, "--project", "shop"]);
        assert_refused(&said, &["shop", "(HTTP 403)", "Browse"]);
        let said = gateway.cli(&["project", "import", organization, "--all"]);
        assert_refused(&said, &["sees no project", "Browse"]);
        let said = gateway.cli(&["project", "list", organization]);
        assert_eq!((said.code, said.out.lines().count()), (0, 1), "{said:?}");
        assert_tells(&said.out, &["No projects. The token may not see any"]);

        sonar.edit(|model| model.token_mut("squ_blind").browse = Browse::All);
        import(&gateway, organization, &["shop"]);
        sonar.edit(|model| model.token_mut("squ_blind").browse = Browse::None);
        let said = gateway.cli(&["sync", "--wait"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert_tells(&said.err, &["error: shop"]);
        assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
    }
}

#[test]
fn an_unknown_organization_is_told() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = Gateway::start();
    let early = gateway.cli(&["project", "list", "acme"]);
    assert_refused(&early, &["no source is connected yet", "hint: hydrophone source add"]);
    connect(&gateway, &sonar);
    for line in [
        &["project", "list", "ecma"][..],
        &["project", "import", "ecma", "--all"],
        &["project", "import", "sonar/ecma", "--project", "shop"],
        &["webhook", "show", "ecma"],
        &["sync", "ecma"],
        &["finding", "list", "--organization", "ecma"],
    ] {
        let said = gateway.cli(line);
        assert_refused(&said, &["no connected source sees an organization", "ecma", "hydrophone organization list"]);
    }
    assert_refused(&gateway.cli(&["project", "list", "other/acme"]), &["there is no source other", "source list"]);
}

#[test]
fn an_unknown_project_is_told_and_nothing_is_imported() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    let said = gateway.cli(&["project", "import", "acme", "--project", "shop", "--project", "shp", "--wait"]);
    assert_refused(&said, &["Sonar shows no project shp in sonar/acme", "hydrophone project list", "Browse"]);
    assert_eq!(gateway.json(&["status"])["inventory"]["projects"], 0);
    assert_eq!(gateway.json(&["asset", "list"])["assets"], Value::Array(vec![]));
    for line in [
        &["project", "show", "acme", "shop"][..],
        &["project", "remove", "acme", "shop"],
        &["sync", "acme", "shop"],
        &["finding", "list", "--project", "shop"],
    ] {
        assert_refused(&gateway.cli(line), &["shop", "is not imported"]);
    }
}

#[test]
fn a_host_where_nothing_listens_is_told() {
    let gateway = Gateway::start();
    let line = ["source", "add", "lab", "--server", "http://127.0.0.1:9", "--token-file", "-"];
    let said = gateway.cli_with(&line, "squ_1");
    assert_refused(&said, &["127.0.0.1:9", "cannot be reached", "the connection was refused"]);
    let unknown = ["source", "add", "lab", "--server", "https://sonar.invalid", "--token-file", "-"];
    assert_refused(&gateway.cli_with(&unknown, "squ_1"), &["sonar.invalid", "its name is not known (DNS)"]);
    nothing_stored(&gateway);
}

#[test]
fn addresses_that_are_none_are_told() {
    let gateway = Gateway::start();
    for (address, why) in [
        ("sonar.example.com", "must begin with https://"),
        ("ftp://sonar.example.com", "must begin with https://"),
        ("https://", "must name a host"),
        ("https://me:squ_x@sonar.example.com", "without query, fragment or user"),
    ] {
        let said = gateway.cli_with(&["source", "add", "lab", "--server", address, "--token-file", "-"], "squ_1");
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(why), "{said:?}");
    }
    let line = ["source", "add", "two words", "--server", "https://sonar.example.com", "--token-file", "-"];
    assert_refused(&gateway.cli_with(&line, "squ_1"), &["must not contain ' '"]);
    nothing_stored(&gateway);
}

#[test]
fn a_sonar_that_goes_away_closes_nothing() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = holding_shop(&sonar);
    sonar.set_offline(true);
    let said = gateway.cli(&["sync", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_tells(&said.err, &["error: shop", "cannot be reached: it closed the connection without an answer"]);
    assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
    sonar.set_offline(false);
    sync(&gateway);
    assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
}

// --- Certificates and proxies ---

#[test]
fn an_untrusted_certificate_names_its_issuer_and_the_remedy() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = Sonar::start_tls(mode);
        let gateway = Gateway::start();
        let said = add_source(&gateway, &sonar, "sonar", sonar.token(), &[]);
        let host = sonar.url().replace("https://", "");
        assert_refused(&said, &[&host, "Example Private CA\"", "does not trust", "--ca-file"]);
        nothing_stored(&gateway);

        let path = gateway.folder().join("ca.pem");
        std::fs::write(&path, sonar.ca_pem().unwrap()).unwrap();
        let said = add_source(&gateway, &sonar, "sonar", sonar.token(), &["--ca-file", path.to_str().unwrap()]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(gateway.json(&["source", "list"])["sources"][0]["own_ca"], true);
        assert_eq!(gateway.cli(&["source", "check", "sonar"]).code, 0);
    }
}

#[test]
fn a_ca_file_that_is_none_is_told() {
    let sonar = Sonar::start_tls(CLOUD);
    let gateway = Gateway::start();
    let path = gateway.folder().join("ca.pem");
    let file = path.to_str().unwrap();
    assert_refused(
        &add_source(&gateway, &sonar, "sonar", sonar.token(), &["--ca-file", file]),
        &["cannot read the certificates from", file, "hint: "],
    );
    std::fs::write(&path, "no certificate").unwrap();
    assert_refused(
        &add_source(&gateway, &sonar, "sonar", sonar.token(), &["--ca-file", file]),
        &[file, "holds no certificate in PEM form", "openssl x509"],
    );
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n").unwrap();
    assert_refused(
        &add_source(&gateway, &sonar, "sonar", sonar.token(), &["--ca-file", file]),
        &["the file of authorities"],
    );
    nothing_stored(&gateway);
}

#[test]
fn a_certificate_for_another_host_names_the_hosts_it_is_for() {
    let sonar = Sonar::start_tls(NEWEST_SERVER);
    let gateway = Gateway::start();
    // The proxy takes every name to the simulated Server, whose certificate is made for the loopback address.
    let proxy = format!("http://{}", proxy_to(sonar.url().replace("https://", "")));
    let path = gateway.folder().join("ca.pem");
    std::fs::write(&path, sonar.ca_pem().unwrap()).unwrap();
    let ca = path.to_str().unwrap();
    let line = ["source", "add", "lab", "--token-file", "-", "--ca-file", ca, "--proxy", &proxy, "--server"];
    let said = gateway.cli_with(&[&line[..], &["https://other.example.com"]].concat(), sonar.token());
    assert_refused(
        &said,
        &["the certificate of other.example.com", "is made for 127.0.0.1, localhost", "not for this name"],
    );
    nothing_stored(&gateway);
    let said = gateway.cli_with(&[&line[..], &["https://localhost:1"]].concat(), sonar.token());
    assert_eq!(said.code, 0, "the proxy leads there by its right name: {said:?}");
}

#[test]
fn a_proxy_that_refuses_is_told_without_its_password() {
    let sonar = Sonar::start_tls(NEWEST_SERVER);
    let gateway = Gateway::start();
    for (answer, why) in [
        ("407 Proxy Authentication Required", "asks for a name and password"),
        ("403 Forbidden", "the proxy did not connect: it answered HTTP 403"),
    ] {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = proxy.local_addr().unwrap();
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        std::thread::spawn(move || {
            for mut stream in proxy.incoming().map_while(Result::ok) {
                read_head(&mut stream);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let proxy = format!("http://me:hunter2@{address}");
        let said = add_source(&gateway, &sonar, "sonar", sonar.token(), &["--proxy", &proxy]);
        assert_refused(&said, &["a proxy's password is no argument", "--proxy-file"]);
        assert!(!said.err.contains("hunter2"), "{said:?}");
        let file = gateway.folder().join("proxy");
        std::fs::write(&file, proxy).unwrap();
        let file = file.to_str().unwrap();
        let said = add_source(&gateway, &sonar, "sonar", sonar.token(), &["--proxy-file", file]);
        assert_refused(&said, &["cannot be reached", why]);
        assert!(!said.err.contains("hunter2"), "{said:?}");
    }
    let said = add_source(&gateway, &sonar, "sonar", sonar.token(), &["--proxy", "nonsense://x"]);
    assert_refused(&said, &["the proxy", "http://proxy.example:3128"]);
    assert!(!gateway.log().contains("hunter2"));
    nothing_stored(&gateway);
}

/// A proxy that tunnels every CONNECT to one place.
fn proxy_to(target: String) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut near in listener.incoming().map_while(Result::ok) {
            read_head(&mut near);
            let Ok(mut far) = TcpStream::connect(&target) else { continue };
            let _ = near.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let (mut near_again, mut far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut near, &mut far));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut far_again, &mut near_again);
                let _ = near_again.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    address
}

fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.extend(byte);
    }
}

#[test]
fn a_page_of_html_in_place_of_an_answer_is_told_and_closes_nothing() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with_shop(mode);
        let gateway = Gateway::start();
        let host = sonar.url().replace("http://", "");
        let html = ["gave an answer (HTTP 200)", "a proxy or a login page stands between", &host];
        sonar.fault("api/", Fault::html(200, 1000));
        assert_refused(&add_source(&gateway, &sonar, "sonar", sonar.token(), &[]), &html);
        nothing_stored(&gateway);
        sonar.clear_faults();

        connect(&gateway, &sonar);
        let organization = organization(&sonar);
        sonar.fault("api/components", Fault::html(200, 1000));
        assert_refused(&gateway.cli(&["project", "import", organization, "--project", "shop"]), &html);
        assert_refused(&gateway.cli(&["project", "import", organization, "--all"]), &html);
        assert_refused(&gateway.cli(&["project", "list", organization]), &html);
        assert_eq!(gateway.json(&["status"])["inventory"]["projects"], 0);
        sonar.clear_faults();

        import(&gateway, organization, &["shop"]);
        for path in ["api/project_branches", "api/issues/search"] {
            sonar.fault(path, Fault::html(200, 1000));
            let said = gateway.cli(&["sync", "--wait"]);
            assert_eq!(said.code, 1, "{said:?}");
            assert_tells(&said.err, &html);
            assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
            sonar.clear_faults();
        }
        sync(&gateway);
    }
}

#[test]
fn an_answer_cut_in_the_middle_stores_nothing_and_closes_nothing() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with_shop(mode);
        let gateway = Gateway::start();
        sonar.fault("api/authentication", Fault::CutBody { times: 1 });
        let said = add_source(&gateway, &sonar, "sonar", sonar.token(), &[]);
        assert_refused(&said, &[&sonar.url().replace("http://", ""), "was cut short"]);
        nothing_stored(&gateway);

        connect(&gateway, &sonar);
        let organization = organization(&sonar);
        sonar.fault("api/components", Fault::CutBody { times: 1 });
        assert_refused(&gateway.cli(&["project", "import", organization, "--project", "shop"]), &["was cut short"]);
        assert_eq!(gateway.json(&["status"])["inventory"]["projects"], 0);

        import(&gateway, organization, &["shop"]);
        let before = inventory(&gateway, "shop");
        sonar.edit(|model| model.fix("A"));
        for path in ["api/project_branches", "api/issues/search"] {
            sonar.fault(path, Fault::CutBody { times: 1000 });
            let said = gateway.cli(&["sync", "--wait"]);
            assert_eq!(said.code, 1, "{said:?}");
            assert_tells(&said.err, &["error: shop", "was cut short"]);
            assert_eq!(inventory(&gateway, "shop"), before);
            sonar.clear_faults();
        }
        sync(&gateway);
        assert_eq!(states(&gateway, "shop"), ["A fixed", "B open"]);
    }
}

#[test]
fn json_of_another_shape_is_told_and_closes_nothing() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = holding_shop(&sonar);
    for body in ["{}", "[]", "null", r#"{"issues":[]}"#, r#"{"issues":[],"paging":{}}"#, r#"{"paging":{"total":0}}"#] {
        sonar.fault("api/issues/search", Fault::json(200, body, 1000));
        let said = gateway.cli(&["sync", "--wait"]);
        assert_eq!(said.code, 1, "{body}: {said:?}");
        assert_tells(&said.err, &["error: shop main"]);
        assert_eq!(states(&gateway, "shop"), ["A open", "B open"], "{body}");
        sonar.clear_faults();
    }
    sync(&gateway);
}

#[test]
fn an_import_whose_first_read_fails_says_so_and_goes_on_by_itself() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    sonar.fault("api/project_branches", Fault::unavailable(1));
    let said = gateway.cli(&["project", "import", "acme", "--project", "shop", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_tells(&said.err, &["error: shop: ", "cannot answer for now (HTTP 503)"]);
    assert_tells(&gateway.cli(&["project", "show", "acme", "shop"]).out, &["HTTP 503"]);
    gateway.json(&["source", "check", "sonar"]);
    sync(&gateway);
    assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
}

#[test]
fn an_import_of_branches_that_are_not_there_ends_with_a_word() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    let line = ["project", "import", "acme", "--project", "shop", "--branch", "relase/*", "--wait", "--timeout", "20"];
    let said = gateway.cli(&line);
    assert_eq!(said.code, 1, "{said:?}");
    assert_tells(&said.err, &["error: shop: no branch matches relase/*"]);
    assert_tells(&gateway.cli(&["status"]).out, &["no branch matches relase/*", "hydrophone project show"]);
    assert_tells(&gateway.cli(&["project", "show", "acme", "shop"]).out, &["no branch matches relase/*"]);
}

// --- Starting ---

/// A program that another user than the owner of these files runs, where that can be had; only then do permissions
/// bind. With it goes the folder that the program lies in.
fn as_nobody() -> (Option<tempfile::TempDir>, Command) {
    if !rustix::process::geteuid().is_root() {
        return (None, program());
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("hydrophone");
    std::fs::copy(program().get_program(), &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(copy);
    command.uid(65_534).gid(65_534).current_dir("/");
    (Some(folder), command)
}

fn serve_in(state: &Path) -> Said {
    serve(&mut program(), &["--state", state.to_str().unwrap(), "--webhook-listen", "127.0.0.1:0"])
}

#[test]
fn a_state_folder_that_cannot_be_written_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let missing = folder.path().join("missing/deep");
    for state in [file.join("state"), file, missing, PathBuf::from("/proc/hydrophone")] {
        let said = serve_in(&state);
        assert_eq!(said.code, 78, "{state:?}: {said:?}");
        let path = state.to_str().unwrap();
        assert_tells(
            &said.err,
            &["does not start: cannot write to the state folder", path, "it must exist and belong"],
        );
    }
    let (_copy, mut nobody) = as_nobody();
    let locked = folder.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    let said = serve(&mut nobody, &["--state", locked.to_str().unwrap(), "--webhook-listen", "127.0.0.1:0"]);
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(&said.err, &["cannot write to the state folder", "Permission denied"]);
}

#[test]
fn a_state_folder_in_use_is_refused_and_the_first_gateway_goes_on() {
    let gateway = Gateway::start();
    let said = serve_in(&gateway.state());
    assert_eq!(said.code, 1, "it may be free at the next try: {said:?}");
    let path = gateway.state();
    assert_tells(&said.err, &["is in use by another hydrophone", path.to_str().unwrap(), "--state"]);
    assert_eq!(gateway.json(&["status"])["ready"], true);
}

#[test]
fn a_database_of_a_newer_version_is_refused_with_a_sentence_and_left_alone() {
    let folder = Gateway::start().stop();
    let file = folder.path().join("state/hydrophone.redb");
    make_newer(&file);
    let before = std::fs::read(&file).unwrap();
    let said = serve_in(&folder.path().join("state"));
    assert_eq!(said.code, 78, "{said:?}");
    let state = folder.path().join("state");
    assert_tells(
        &said.err,
        &[
            state.to_str().unwrap(),
            "has format 23, this version knows up to 7",
            "install the newer",
            "put back a backup",
        ],
    );
    assert!(std::fs::read(&file).unwrap() == before, "not a byte of it is changed");
}

#[test]
fn a_file_that_is_no_database_is_refused_with_a_sentence_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hydrophone.redb");
    for content in [&b"not a database"[..], &[0x5a; 12_000], &[0; 5000]] {
        std::fs::write(&file, content).unwrap();
        let said = serve_in(folder.path());
        assert_eq!(said.code, 78, "{said:?}");
        assert_tells(&said.err, &["the database", file.to_str().unwrap(), "is damaged", "--set-damaged-aside"]);
        assert!(std::fs::read(&file).unwrap() == content, "the file was written to");
    }
}

#[test]
fn a_port_that_is_taken_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let said = serve(&mut program(), &["--state", state.to_str().unwrap(), "--webhook-listen", &address]);
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(&said.err, &[&address, "another program has this port", "--webhook-listen"]);
    let said = serve(&mut program(), &["--state", state.to_str().unwrap(), "--webhook-listen", "192.0.2.1:8443"]);
    assert_eq!(said.code, 1, "the address may come yet: {said:?}");
    assert_tells(&said.err, &["192.0.2.1:8443", "this machine does not have that address"]);
}

#[test]
fn flags_without_sense_are_wrong_usage() {
    for (line, why) in [
        (&["serve", "--webhook-listen", "nowhere"][..], "--webhook-listen"),
        (&["serve", "--log-format", "xml"], "text, json"),
        (&["finding", "list", "--severity", "severe"], "critical, high, medium, low, info"),
        (&["finding", "list", "--limit", "0"], "--limit"),
        (&["export", "--format", "xml"], "json, csv"),
        (&["project", "import", "acme"], "--project"),
        (&["source", "add", "eu", "--token-file", "t"], "--cloud"),
        (&["source", "add", "eu", "--cloud", "--token", "squ"], "--token-file"),
        (&["completions", "klingon"], "bash"),
        (&["frobnicate"], "frobnicate"),
    ] {
        let said = alone(line);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert_tells(&said.err, &[why]);
    }
}

#[test]
fn a_bad_public_url_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    for (url, why) in [
        ("hooks.example.com", "must begin with https://"),
        ("https://", "must name a host"),
        ("https://hooks.example.com/?a=b", "without query"),
    ] {
        let line = ["--state", state.to_str().unwrap(), "--webhook-listen", "127.0.0.1:0", "--public-url", url];
        let said = serve(&mut program(), &line);
        assert_eq!(said.code, 78, "{said:?}");
        assert_tells(&said.err, &["--public-url", why]);
    }
    assert!(!state.exists(), "nothing is left behind");
}

#[test]
fn commands_without_a_gateway_say_how_to_start_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let commands = [
        &["status"][..],
        &["finding", "list"],
        &["sync"],
        &["export", "--format", "csv"],
        &["webhook", "show", "acme"],
    ];
    for command in commands {
        let said = alone(&[&["--state", state][..], command].concat());
        assert_refused(&said, &["no daemon answers at", state, "systemctl start hydrophone", "hydrophone serve"]);
    }
    // One that was killed leaves its socket.
    let folder = Gateway::start().kill();
    let state = folder.path().join("state");
    assert!(state.join("admin.sock").exists());
    assert_refused(
        &alone(&["--state", state.to_str().unwrap(), "status"]),
        &["no daemon answers at", "systemctl start"],
    );
}

#[test]
fn a_socket_of_somebody_else_says_who_may_use_it() {
    let gateway = Gateway::start();
    let socket = gateway.state().join("admin.sock");
    for folder in [gateway.folder(), &gateway.state()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mode = socket.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o400)).unwrap();
    let (_copy, mut nobody) = as_nobody();
    let said = run(nobody.args(["--socket", socket.to_str().unwrap(), "status"]), "");
    assert_refused(&said, &["no permission to use", socket.to_str().unwrap(), "usermod -aG hydrophone"]);
}

// --- Secrets ---

#[test]
fn token_files_without_a_token_are_told() {
    let sonar = Sonar::start(CLOUD);
    let gateway = Gateway::start();
    let said = add_source(&gateway, &sonar, "sonar", "", &[]);
    assert_refused(&said, &["standard input holds no token", "the secret and nothing else"]);
    assert_refused(&add_source(&gateway, &sonar, "sonar", "\n", &[]), &["standard input holds no token"]);
    assert_refused(&add_source(&gateway, &sonar, "sonar", "  \n \n", &[]), &["the token is empty"]);
    let two = add_source(&gateway, &sonar, "sonar", "squ_one\nsqu_two\n", &[]);
    assert_refused(&two, &["another character that no token has", "is it the right file?"]);
    let path = gateway.folder().join("token");
    let line = ["source", "add", "sonar", "--cloud", "--token-file", path.to_str().unwrap()];
    assert_refused(
        &gateway.cli(&line),
        &["cannot read the token from", path.to_str().unwrap(), "Name a file that exists"],
    );
    std::fs::write(&path, "").unwrap();
    assert_refused(&gateway.cli(&line), &[path.to_str().unwrap(), "holds no token"]);
    std::fs::write(&path, [0xff; 100]).unwrap();
    let said = gateway.cli(&line);
    assert_eq!(said.code, 1, "{said:?}");
    assert_tells(&said.err, &["cannot read", path.to_str().unwrap()]);
    nothing_stored(&gateway);
}

#[test]
fn a_webhook_secret_that_sonar_would_not_take_is_told_and_the_former_stays() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    let secret = |gateway: &Gateway| gateway.json(&["webhook", "show", "acme", "--reveal"])["secret"].clone();
    let former = secret(&gateway);
    for bad in ["short", "fifteen-letters", &"x".repeat(201)] {
        let said = gateway.cli_with(&["webhook", "secret", "acme", "--secret-file", "-"], bad);
        assert_refused(&said, &["16", "200"]);
        assert!(!said.err.contains(bad), "{said:?}");
    }
    assert_eq!(secret(&gateway), former);
    let said = gateway.cli_with(&["webhook", "secret", "acme", "--secret-file", "-"], "sixteen-letters!\n");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(secret(&gateway), "sixteen-letters!");
}

#[test]
fn secrets_are_in_no_output_and_in_no_log() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = Gateway::start_logging("trace");
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["shop"]);
    crate::support::hook_up(&gateway, &sonar, "acme");
    let secret = gateway.json(&["webhook", "show", "acme", "--reveal"])["secret"].as_str().unwrap().to_owned();
    sonar.analyse("shop", "main", |analysis| {
        analysis.property("sonar.analysis.password", "property-secret");
        analysis.fix("A");
    });
    assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
    gateway.wait("the analysis to be read", |gateway| (states(gateway, "shop")[0] == "A fixed").then_some(()));
    sonar.edit(|model| model.tokens.clear());
    assert_eq!(gateway.cli(&["sync", "--wait"]).code, 1);
    let mut said = vec![gateway.log()];
    assert!(said[0].contains("DEBUG") || said[0].contains("TRACE"), "the log holds everything");
    let lines = [
        &["source", "list"][..],
        &["source", "check", "sonar"],
        &["organization", "list"],
        &["project", "show", "acme", "shop"],
        &["webhook", "show", "acme"],
        &["delivery", "list"],
        &["delivery", "show", "D1"],
        &["config", "show"],
        &["status"],
        &["finding", "list"],
        &["export", "--format", "json"],
        &["export", "--format", "csv"],
    ];
    for line in lines {
        for json in [&[][..], &["--json"]] {
            let Said { out, err, .. } = gateway.cli(&[json, line].concat());
            said.extend([out, err]);
        }
    }
    for text in &said {
        for secret in [sonar.token(), secret.as_str()] {
            assert!(!text.contains(secret), "a secret is in: {text}");
        }
    }
    assert!(!said[0].contains("property-secret"), "a webhook's properties are in the log");
}

// --- Assets, sources, settings ---

#[test]
fn mistakes_with_assets_are_told() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = holding_shop(&sonar);
    assert_eq!(gateway.cli(&["asset", "add", "Store"]).code, 0);
    let absent = ["there is no asset Sotre", "hydrophone asset list"];
    assert_refused(&gateway.cli(&["asset", "show", "Sotre"]), &absent);
    assert_refused(&gateway.cli(&["asset", "edit", "Sotre", "--name", "x"]), &absent);
    assert_refused(&gateway.cli(&["asset", "remove", "Sotre"]), &absent);
    assert_refused(&gateway.cli(&["finding", "list", "--asset", "Sotre"]), &absent);
    let import = ["project", "import", "acme", "--project", "shop", "--asset", "Sotre"];
    assert_refused(&gateway.cli(&import), &["there is no asset Sotre", "--new-asset"]);
    assert_refused(&gateway.cli(&["asset", "add", "Store"]), &["there is an asset Store already"]);
    let import = ["project", "import", "acme", "--project", "shop", "--new-asset", "Store"];
    assert_refused(&gateway.cli(&import), &["there is an asset Store already", "--asset adds to it"]);
    assert_refused(&gateway.cli(&["asset", "edit", "Store", "--name", "Web shop"]), &["an asset Web shop already"]);
    assert_refused(&gateway.cli(&["asset", "remove", "Web shop"]), &["asset Web shop holds shop", "move them first"]);
    assert_refused(&gateway.cli(&["asset", "add", ""]), &["must not be empty"]);
    assert_eq!(gateway.json(&["project", "show", "acme", "shop"])["asset"], "Web shop");
    assert_eq!(findings(&gateway, &ALL_STATES).len(), 2);
}

#[test]
fn a_source_with_projects_is_not_removed() {
    let sonar = sonar_with_shop(CLOUD);
    let gateway = holding_shop(&sonar);
    let said = gateway.cli(&["source", "remove", "sonar"]);
    assert_refused(&said, &["imported from sonar", "remove them first", "hydrophone project remove ORG KEY"]);
    assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
    for line in [&["source", "remove", "snoar"][..], &["source", "check", "snoar"]] {
        assert_refused(&gateway.cli(line), &["there is no source snoar", "hydrophone source list"]);
    }
    let again = add_source(&gateway, &sonar, "sonar", sonar.token(), &[]);
    assert_refused(&again, &["there is a source sonar already", "hydrophone source token sonar"]);
    assert_eq!(gateway.cli(&["project", "remove", "acme", "shop"]).code, 0);
    assert_eq!(gateway.cli(&["source", "remove", "sonar"]).code, 0);
    nothing_stored(&gateway);
}

#[test]
fn settings_that_are_unknown_or_wrong_are_told_and_change_nothing() {
    let gateway = Gateway::start();
    let before = gateway.json(&["config", "show"]);
    let unknown = gateway.cli(&["config", "set", "public_url", "https://x.example"]);
    assert_refused(&unknown, &["there is no setting \"public_url\"", "public-url"]);
    for (key, value, why) in [
        ("public-url", "x.example", "public-url must begin with https://"),
        ("sync-workers", "0", "sync-workers must be a number from 1 to 16"),
        ("sync-workers", "-1", "sync-workers must be a number from 1 to 16"),
        ("sync-workers", "many", "sync-workers must be a number from 1 to 16"),
        ("free-space-min-mib", "1.5", "free-space-min-mib must be a number"),
    ] {
        assert_refused(&gateway.cli(&["config", "set", key, value]), &[why]);
    }
    assert_eq!(gateway.json(&["config", "show"]), before);
}

#[test]
fn findings_and_deliveries_that_do_not_exist_are_told() {
    let gateway = Gateway::start();
    assert_refused(&gateway.cli(&["finding", "show", "F7"]), &["there is no finding F7", "hydrophone finding list"]);
    assert_refused(&gateway.cli(&["finding", "show", "seven"]), &["looks like F12", "seven"]);
    assert_refused(&gateway.cli(&["delivery", "show", "D7"]), &["there is no delivery D7"]);
    assert_refused(&gateway.cli(&["delivery", "replay", "D7"]), &["there is no delivery D7"]);
    let said = gateway.cli(&["--json", "finding", "show", "F7"]);
    assert_eq!(said.code, 1);
    let problem: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&problem["status"], &problem["title"]), (&404.into(), &"Not Found".into()));
}
