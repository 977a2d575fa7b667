//! A certificate in files is judged as one that is set: what would not be taken does not replace one that is good, and what
//! the box has to start with is told of. And one that does not bear the name that SonarQube calls is told of wherever it is.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};

use crate::certificate::{conditions, files, of, pair, same};
use crate::steps::assert_tells;
use crate::support::gateway::{Gateway, program};

/// A gateway whose configuration lies in this folder.
fn configured(configuration: &Path) -> Gateway {
    let mut command = std::process::Command::new("sh");
    command
        .arg("-c")
        .arg(format!("CONFIGURATION_DIRECTORY='{}' exec \"$0\" \"$@\"", configuration.display()))
        .arg(program().get_program());
    let folder = Arc::new(tempfile::tempdir().unwrap());
    Gateway::start_as(command, folder, &[], [Stdio::null(), Stdio::null()]).unwrap_or_else(|log| panic!("{log}"))
}

fn put(configuration: &Path, certificate: &str, key: &str) {
    std::fs::write(configuration.join("tls.crt"), certificate).unwrap();
    std::fs::write(configuration.join("tls.key"), key).unwrap();
}

/// A certificate that signed itself, and its key.
fn own(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["hooks.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "hooks");
    change(&mut params);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn what_set_refuses_does_not_replace_a_good_one_on_reload() {
    let configuration = tempfile::tempdir().unwrap();
    let good = pair("hooks.example", 300);
    put(configuration.path(), &good.chain, &good.key);
    let gateway = configured(configuration.path());
    assert!(!conditions(&gateway).contains("certificate_"));
    let ended = pair("hooks.example", -1);
    let (nameless, nameless_key) = own(|params| params.subject_alt_names.clear());
    for (certificate, key, words) in [
        (ended.chain.as_str(), ended.key.as_str(), "\\\"CN=hooks.example\\\" has ended at"),
        (&good.leaf, &good.key, "\\\"CN=hooks.example\\\" was issued by \\\"CN=Middle\\\""),
        (&nameless, &nameless_key, "names no host (subject alternative name)"),
    ] {
        put(configuration.path(), certificate, key);
        gateway.reload();
        gateway.wait(words, |gateway| conditions(gateway).contains(words).then_some(()));
        assert_tells(&conditions(&gateway), &["certificate_broken", "tls.crt: ", "systemctl reload hydrophone"]);
        assert!(same(&of(&gateway), &good.leaf));
    }
    // What is given meanwhile is kept, and told as what it is.
    let said = gateway.cli(&["certificate", "self-signed"]).out;
    assert!(said.starts_with("Kept, but not shown: ") && said.contains("show the former certificate"), "{said}");
    put(configuration.path(), &good.chain, &good.key);
    gateway.reload();
    gateway.wait("all is well", |gateway| (!conditions(gateway).contains("certificate_broken")).then_some(()));
}

/// The box runs with what there is, since nobody would see its page otherwise.
#[test]
fn what_set_refuses_is_shown_from_a_start_on_with_a_word_about_it() {
    let good = pair("hooks.example", 300);
    let ended = pair("hooks.example", -1);
    let (nameless, nameless_key) = own(|params| params.subject_alt_names.clear());
    for (certificate, key, words, code) in [
        (ended.chain.as_str(), ended.key.as_str(), "has ended at", "certificate_ended"),
        (&good.leaf, &good.key, "add the certificate of", "certificate_unfit"),
        (&nameless, &nameless_key, "names no host", "certificate_unfit"),
    ] {
        let configuration = tempfile::tempdir().unwrap();
        put(configuration.path(), certificate, key);
        let gateway = configured(configuration.path());
        assert_tells(&gateway.wait_for_log("is shown, although it should not be"), &["WARN", "tls.crt", words]);
        assert!(same(&of(&gateway), certificate.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap()));
        assert_tells(&conditions(&gateway), &[code]);
        let doctor = gateway.cli(&["doctor"]).out;
        let line = doctor.lines().find(|line| line.contains(" certificate ")).unwrap();
        assert!(line.starts_with("FAULT") && !line.contains("good for ,") && !line.contains(" -"), "{doctor}");
        // Read anew, it is no worse than before.
        gateway.reload();
        gateway.wait_for_log("reading certificates");
        gateway.wait("the reload", |gateway| (!conditions(gateway).contains("certificate_broken")).then_some(()));
    }
}

/// The certificate that the box made at its first start does not know what SonarQube will call it. On a LAN nobody else stands
/// before the box, and Java refuses without a word here.
#[test]
fn a_public_url_that_the_certificate_does_not_name_is_told_of_until_it_does() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let said = gateway.cli(&["config", "set", "public-url", "https://localhost:8443"]).out;
    assert_eq!(said, "public-url is now https://localhost:8443.\n");
    assert!(!conditions(&gateway).contains("certificate_name"));
    let line = ["config", "set", "public-url", "https://lan.example:8443"];
    let words = "the certificate does not name lan.example: `hydrophone certificate self-signed` makes one that does, which is then \
                 to be imported into the Server's trust store";
    assert_tells(&gateway.cli(&line).out, &["public-url is now https://lan.example:8443.\n", words]);
    assert_eq!(gateway.json(&line)["notes"][0], words);
    let calls = "and SonarQube calls lan.example: its calls fail unless a proxy is in front";
    assert_tells(&conditions(&gateway), &["certificate_name", calls]);
    assert_tells(&gateway.cli(&["certificate", "show"]).out, &[calls]);
    let doctor = gateway.cli(&["doctor"]).out;
    let lines: Vec<_> = doctor.lines().filter(|line| line.contains(calls)).collect();
    assert!(lines.len() == 1 && lines[0].starts_with("WARNING certificate"), "{doctor}");

    let made = gateway.json(&["certificate", "self-signed"]);
    assert!(made["certificate"]["names"].as_array().unwrap().contains(&"lan.example".into()), "{made}");
    assert!(!conditions(&gateway).contains("certificate_name"));
    assert_eq!(gateway.json(&line).get("notes"), None);
    // One that was given is judged by the same name.
    let given = pair("hooks.example", 300);
    let [_, key] = files(gateway.folder(), &given.chain, &given.key);
    gateway.json_with(&["certificate", "set", "--cert", "-", "--key", &key], &given.chain);
    assert_tells(
        &conditions(&gateway),
        &["is made for hooks.example, and SonarQube calls lan.example", "certificate set"],
    );
    // What a proxy shows is the proxy's.
    let plain = Gateway::start_with(&["--webhook-plain", "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(plain.json(&line).get("notes"), None);
    assert!(!conditions(&plain).contains("certificate_name"));
}
