//! The key bound to a TPM: a software TPM (swtpm) stands in for the box's own, and systemd-creds asks it as the service
//! manager does. Where one of them is not installed there is nothing to try; `tests/run` on Debian has both with
//! `swtpm`, `libtss2-tcti-swtpm0` and `libtss2-rc0`.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use crate::steps::{CLOUD, conditions, sonar_with};
use crate::support::connect;
use crate::support::gateway::{Gateway, SOON};

const NAME: &str = "hydrophone.key.encrypted";

/// A software TPM. It ends when dropped.
struct Tpm {
    child: Child,
    device: String,
    _state: tempfile::TempDir,
}

impl Tpm {
    fn start() -> Option<Self> {
        let state = tempfile::tempdir().unwrap();
        // Held until both are known, so that they differ.
        let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [server, control] = held.map(|listener| listener.local_addr().unwrap().port());
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", state.path().display())])
            .args(["--server", &format!("type=tcp,port={server},bindaddr=127.0.0.1")])
            .args(["--ctrl", &format!("type=tcp,port={control},bindaddr=127.0.0.1")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let end = Instant::now() + SOON;
        while TcpStream::connect(("127.0.0.1", control)).is_err() {
            assert!(Instant::now() < end, "swtpm does not listen");
            std::thread::yield_now();
        }
        Some(Self { child, device: format!("swtpm:host=127.0.0.1,port={server}"), _state: state })
    }

    fn creds(&self, arguments: &[&str]) -> Option<Output> {
        let mut command = Command::new("systemd-creds");
        command.env("SYSTEMD_TPM2_DEVICE", &self.device).args(arguments).stdin(Stdio::null()).output().ok()
    }

    /// What the service manager does before it starts the service; whether the TPM gave the key.
    fn hand_over(&self, encrypted: &Path, credentials: &Path) -> bool {
        let name = format!("--name={NAME}");
        let to = credentials.join(NAME);
        let done = self.creds(&["decrypt", &name, encrypted.to_str().unwrap(), to.to_str().unwrap()]).unwrap();
        done.status.success()
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_disk_without_its_tpm_yields_no_secret() {
    let (Some(tpm), Some(other)) = (Tpm::start(), Tpm::start()) else {
        eprintln!("swtpm is not installed: nothing was tried");
        return;
    };
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let (plain, encrypted) = (folder.path().join("plain"), folder.path().join("encrypted"));
    std::fs::write(&plain, "ab".repeat(32)).unwrap();
    let (name, device) = (format!("--name={NAME}"), format!("--tpm2-device={}", tpm.device));
    let arguments =
        ["encrypt", "--with-key=tpm2", &device, &name, plain.to_str().unwrap(), encrypted.to_str().unwrap()];
    let made = match tpm.creds(&arguments) {
        Some(made) if made.status.success() => made,
        failed => {
            eprintln!("systemd-creds cannot ask swtpm here: nothing was tried: {failed:?}");
            return;
        }
    };
    assert!(made.stdout.is_empty());
    std::fs::remove_file(&plain).unwrap();

    let sonar = sonar_with(CLOUD, &["A"]);
    let credentials = tempfile::tempdir().unwrap();
    assert!(tpm.hand_over(&encrypted, credentials.path()));
    let gateway = Gateway::start_credited(Arc::clone(&folder), credentials.path()).unwrap();
    connect(&gateway, &sonar);
    assert_eq!(gateway.json(&["key", "show"])["name"], NAME);
    gateway.stop();
    std::fs::remove_file(credentials.path().join(NAME)).unwrap();
    assert!(!folder.path().join("state").join("hydrophone.key").exists());

    // The whole disk in another machine.
    assert!(!other.hand_over(&encrypted, credentials.path()), "another TPM does not know it");
    let gateway = Gateway::start_credited(Arc::clone(&folder), credentials.path()).unwrap();
    assert!(conditions(&gateway).contains(&"locked".to_owned()));
    gateway.stop();

    assert!(tpm.hand_over(&encrypted, credentials.path()));
    let gateway = Gateway::start_credited(folder, credentials.path()).unwrap();
    assert!(!conditions(&gateway).contains(&"locked".to_owned()));
    assert_eq!(gateway.cli(&["source", "check", "sonar"]).code, 0);
}
