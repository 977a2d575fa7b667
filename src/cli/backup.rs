//! `backup`, `restore` and `verify`: everything that a box holds as one file, and back.

use std::io::{self, BufRead, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use zeroize::Zeroizing;

use super::Session;
use super::client::{Answer, Failure};
use super::export::Draft;
use super::secret::read_secret;
use super::table::{Output, cell, counted, number, table};
use crate::admin::shapes::{BackupAsked, Verified, VerifiedTable};
use crate::daemon::offline::{self, Checked, ENCRYPTED_KEY_NAME, KEY_NAME};
use crate::sys::seal::passphrase::{CHARACTERS_MIN, Wrapping};

/// Write everything that the running gateway holds into one file, as of one moment.
#[derive(Debug, Args)]
#[command(after_help = "Tokens and other secrets stay sealed in it: to use them elsewhere takes the box's key. With \
    --with-keys the key is in it, too, under a passphrase; a key that is bound to a box's TPM does not move in another way.\n\n\
    Examples:\n  hydrophone backup /mnt/backup/gateway.bak\n  hydrophone backup gateway.bak --with-keys --passphrase-file passphrase")]
pub struct Backup {
    /// Write to this file; one that is there is replaced.
    file: PathBuf,
    /// Put the key that opens its secrets into it, under a passphrase.
    #[arg(long)]
    with_keys: bool,
    /// Read the passphrase from this file, or from standard input for `-`, instead of asking for it.
    #[arg(long, value_name = "FILE", requires = "with_keys")]
    passphrase_file: Option<PathBuf>,
}

impl Backup {
    /// Does it.
    pub fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let wrapping = self.with_keys.then(|| self.wrapping()).transpose()?;
        let draft = Draft::beside(&self.file)?;
        let mut writer = BufWriter::new(&draft.file);
        session.client.post_into("backup", &BackupAsked { wrapping: wrapping.map(Into::into) }, &mut writer)?;
        writer.flush().map_err(|error| super::export::cannot_write(&self.file, &error))?;
        drop(writer);
        // What is not whole now is not called a backup.
        let checked = offline::check(draft.path()).map_err(|error| input(&error))?;
        draft.finish(&self.file)?;
        if session.out.json {
            return session.out.document(&self.document(&checked).to_string());
        }
        self.tell(&mut session.out, &checked)
    }

    fn wrapping(&self) -> Result<String, Failure> {
        let passphrase = match &self.passphrase_file {
            Some(file) => read_secret(file, "passphrase")?,
            None => ask_twice()?.into(),
        };
        if passphrase.chars().count() < CHARACTERS_MIN {
            let text = format!("a passphrase has at least {CHARACTERS_MIN} characters");
            return Err(Failure::Input { text, hint: "Four or five words that do not belong together are good." });
        }
        Ok(base64::engine::general_purpose::STANDARD.encode(&*Wrapping::new(&passphrase).to_bytes()))
    }

    fn document(&self, checked: &Checked) -> serde_json::Value {
        json!({
            "file": self.file.display().to_string(), "made_at": checked.head.made_at.to_string(), "rows": checked.verified.rows,
            "damaged": checked.verified.damaged, "key_id": checked.head.key().to_string(),
            "with_keys": checked.head.wrapped.is_some()
        })
    }

    fn tell(&self, out: &mut Output, checked: &Checked) -> Result<(), Failure> {
        out.line(format!("Wrote {} to {}.", counted(checked.verified.rows, "record"), self.file.display()))?;
        let key = checked.head.key();
        if self.with_keys {
            out.line(format!(
                "The key {key} is in it, under the passphrase; without that its secrets cannot be read."
            ))?;
        } else if checked.head.credential {
            out.line(format!(
                "Its secrets are sealed with the key {key}, which is a credential of this box and not in it. A key that is \
                 bound to the TPM does not move: to restore on another box, take a backup with --with-keys."
            ))?;
        } else {
            out.line(format!(
                "Its secrets are sealed with the key {key}, which is not in it: keep a copy of {KEY_NAME}, or take a backup \
                 with --with-keys."
            ))?;
        }
        warn_damaged(out, checked)
    }
}

fn warn_damaged(out: &mut Output, checked: &Checked) -> Result<(), Failure> {
    match checked.verified.damaged {
        0 => Ok(()),
        damaged => out.line(format!(
            "{} among them were damaged on this box already; `hydrophone verify` says where.",
            counted(damaged, "record")
        )),
    }
}

/// Put a backup into the state folder of a gateway that is stopped.
#[derive(Debug, Args)]
#[command(
    after_help = "Everything is checked before anything is touched, and the former database is kept under another \
    name beside the new one. What was changed since the backup was made is as it was then: tokens, users and webhook \
    secrets are to be looked at again.\n\n\
    Example:\n  systemctl stop hydrophone.service 'hydrophone-*.socket'\n  sudo hydrophone restore gateway.bak\n  \
    systemctl start hydrophone"
)]
pub struct Restore {
    /// Read this backup.
    file: PathBuf,
    /// Read the passphrase of its key from this file, or from standard input for `-`, instead of asking for it.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Leave the key that is in it where it is.
    #[arg(long, conflicts_with = "passphrase_file")]
    without_keys: bool,
}

impl Restore {
    /// Does it.
    pub fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let checked = offline::check(&self.file).map_err(|error| input(&error))?;
        let key = match checked.head.wrapped {
            Some(_) if !self.without_keys => {
                let passphrase = match &self.passphrase_file {
                    Some(file) => read_secret(file, "passphrase")?,
                    None => ask("Passphrase of the backup: ")?.into(),
                };
                let key = checked.key(&passphrase).ok_or_else(|| Failure::Input {
                    text: format!("this is not the passphrase of {}", self.file.display()),
                    hint: "Nothing was changed. With --without-keys it is restored without its key.",
                })?;
                Some(key)
            }
            _ => None,
        };
        let state = session.paths.state.clone();
        let restored = offline::restore(&self.file, &state, key.as_ref()).map_err(|error| input(&error))?;
        let has_key = restored.key.is_some() || offline::has_key(&state, checked.head.key());
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let out = &mut session.out;
        if out.json {
            let document = json!({
                "state_folder": state.display().to_string(), "made_at": checked.head.made_at.to_string(), "rows": restored.rows,
                "damaged": restored.damaged, "key_id": checked.head.key().to_string(), "has_key": has_key,
                "key_file": shown(&restored.key), "former": shown(&restored.former),
                "former_key": shown(&restored.former_key)
            });
            return out.document(&document.to_string());
        }
        let made_at = checked.head.made_at;
        out.line(format!("Restored {} of {made_at} into {}.", counted(restored.rows, "record"), state.display()))?;
        for former in [&restored.former, &restored.former_key].into_iter().filter_map(shown) {
            out.line(format!("What was there is kept as {former}."))?;
        }
        warn_damaged(out, &checked)?;
        if let Some(file) = shown(&restored.key) {
            out.line(format!(
                "The key is in {file}, and the service takes it from there, also where a credential holds another key. To \
                 bind it to this box's TPM: `install -d -m 700 /etc/credstore.encrypted`, `systemd-creds encrypt \
                 --name={ENCRYPTED_KEY_NAME} {file} /etc/credstore.encrypted/{ENCRYPTED_KEY_NAME}`, move {file} out of the \
                 state folder, restart hydrophone, see that `hydrophone status` does not call it locked, and only then delete \
                 the file."
            ))?;
        } else if !has_key {
            out.line(format!(
                "Its secrets are sealed with the key {}, which is not in the state folder. Unless the service has it as a \
                 credential, the box starts locked until it is put there as {KEY_NAME}. A key that was bound to another \
                 box's TPM does not move: take the backup there with --with-keys.",
                checked.head.key()
            ))?;
            if let Some(other) = offline::other_key(&state, checked.head.key()) {
                let name = state.join(KEY_NAME).display().to_string();
                out.line(format!(
                    "The file {name} is another key, {other}, which the former database needs: before you put a key in its \
                     place, `mv {name} {name}.{other}`."
                ))?;
            }
        }
        out.line(format!(
            "Everything is as it was at {made_at}, also what was taken back since: look at API tokens (`hydrophone token \
             list`) and users (`hydrophone user list`), and rotate webhook secrets that were rotated since (`hydrophone webhook \
             rotate`). Everybody has to sign in again."
        ))?;
        out.line("Now start it: systemctl start hydrophone")
    }
}

/// Read every record, of the gateway or of a backup, and say what is damaged.
#[derive(Debug, Args)]
pub struct Verify {
    /// Read this backup instead of the gateway's database.
    file: Option<PathBuf>,
}

impl Verify {
    /// Does it.
    pub fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let mut secrets = None;
        let answer = match &self.file {
            Some(file) => {
                let checked = offline::check(file).map_err(|error| input(&error))?;
                secrets = Some(opened_by(&checked, &session.paths.state));
                answer(checked.verified)
            }
            None => match session.client.get_long("verify") {
                // Then nobody else has the file.
                Err(Failure::NoDaemon { .. }) => {
                    answer(offline::verify(&session.paths.state).map_err(|error| input(&error))?)
                }
                answer => answer?,
            },
        };
        let damaged = answer.value.damaged;
        session.show(&answer, |out, verified: &Verified| {
            let mut rows = table(&["TABLE", "RECORDS", "DAMAGED"]);
            for found in &verified.tables {
                rows.add_row([cell(&found.table), cell(number(found.rows)), cell(number(found.damaged))]);
            }
            out.table(rows)?;
            out.line("")?;
            match verified.damaged {
                0 => out.line(format!("All {} are whole.", counted(verified.rows, "record"))),
                damaged => out.line(format!(
                    "{} of {} are damaged. Look at the disk (`dmesg`); `hydrophone sync --full` reads findings anew, and a \
                     backup holds what was there when it was made.",
                    number(damaged),
                    counted(verified.rows, "record")
                )),
            }?;
            secrets.as_ref().map_or(Ok(()), |secrets| out.line(secrets))
        })?;
        if damaged == 0 { Ok(()) } else { Err(Failure::Told) }
    }
}

/// With what the secrets of a backup can be used.
fn opened_by(checked: &Checked, state: &Path) -> String {
    let key = checked.head.key();
    if checked.head.wrapped.is_some() {
        return format!("Its secrets are sealed with the key {key}, which is in it, under its passphrase.");
    }
    let rest = "as a credential, or elsewhere, it has to be kept for this backup to be of use";
    if offline::has_key(state, key) {
        return format!("Its secrets are sealed with the key {key}, which is this box's; it is not in the backup.");
    }
    match offline::other_key(state, key) {
        Some(other) => {
            format!(
                "Its secrets are sealed with the key {key}; the file in the state folder is another one, {other}: {rest}."
            )
        }
        None => format!(
            "Its secrets are sealed with the key {key}, which is neither in it nor, for this user to see, in the state folder: {rest}."
        ),
    }
}

fn answer(verified: impl Into<Verified>) -> Answer<Verified> {
    let value = verified.into();
    let document = serde_json::to_string(&value).unwrap_or_default();
    Answer { value, document }
}

impl From<offline::Records> for Verified {
    fn from(found: offline::Records) -> Self {
        let tables = found.tables.into_iter();
        let tables = tables.map(|table| VerifiedTable { table: table.table, rows: table.rows, damaged: table.damaged });
        Self { rows: found.rows, damaged: found.damaged, tables: tables.collect() }
    }
}

/// What the sentence of an error says, with the remedy in it.
fn input(error: &dyn std::error::Error) -> Failure {
    Failure::Input { text: error.to_string(), hint: "" }
}

fn ask_twice() -> Result<Zeroizing<String>, Failure> {
    let first = ask("Passphrase for the key: ")?;
    let again = ask("The same again: ")?;
    if first == again {
        return Ok(first);
    }
    Err(Failure::Input { text: "the two are not the same".to_owned(), hint: "" })
}

/// Asks at the terminal, without showing what is typed.
fn ask(question: &str) -> Result<Zeroizing<String>, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let text = "a passphrase is needed, and there is no terminal to ask for it".to_owned();
        return Err(Failure::Input { text, hint: "Name a file that holds it with --passphrase-file." });
    }
    let failed = |error: &dyn std::error::Error| Failure::Input { text: format!("cannot ask: {error}"), hint: "" };
    let shown = tcgetattr(&stdin).map_err(|error| failed(&error))?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    let _ = write!(io::stderr(), "{question}");
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|error| failed(&error))?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().read_line(&mut line);
    let _ = tcsetattr(&stdin, OptionalActions::Flush, &shown);
    let _ = writeln!(io::stderr());
    read.map_err(|error| failed(&error))?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}
