//! `key`: what secrets are sealed with.

use clap::Subcommand;
use serde_json::json;

use super::Session;
use super::client::Failure;
use crate::admin::shapes::{KeyRotated, SealingKey};
use crate::daemon::offline::LOCKED_REMEDY;

/// The commands of `key`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show which key seals the secrets, where it comes from and since when.
    Show,
    /// Seal everything with another key, and forget the one before.
    #[command(after_help = ROTATE_HELP)]
    Rotate,
}

const ROTATE_HELP: &str = "\
Webhooks and syncs go on meanwhile. A change that is cut short goes on by itself at the next start.

The former key is deleted when nothing on the box needs it any more. What does need it is what was made before: backups \
without their key, and databases that were set aside. Copy hydrophone.key first if you want to restore one of those; \
backups that were made with --with-keys open with their passphrase as before. Take a new backup afterwards.

A file in the state folder is exchanged for a new one by itself. A credential is not: only you can write it. Hand the next \
one over beside it; in this way it never lies on the disk as it is (with --with-key=tpm2 it is bound to the box's TPM):

  sudo install -d -m 700 /etc/credstore.encrypted
  od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n' |
    sudo systemd-creds encrypt --name=hydrophone.key.next \\
      - /etc/credstore.encrypted/hydrophone.key.next
  sudo systemctl restart hydrophone
  sudo hydrophone key rotate

and then give it the name of the one before:

  next=/etc/credstore.encrypted/hydrophone.key.next
  sudo systemd-creds decrypt --name=hydrophone.key.next $next - |
    sudo systemd-creds encrypt --name=hydrophone.key.encrypted \\
      - /etc/credstore.encrypted/hydrophone.key.encrypted
  sudo systemctl restart hydrophone
  sudo hydrophone status        # not locked: then
  sudo rm $next";

impl Command {
    /// Does it.
    pub fn run(&self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Show => show(session),
            Self::Rotate => rotate(session),
        }
    }
}

fn show(session: &mut Session) -> Result<(), Failure> {
    let answer = session.client.get::<SealingKey>("key")?;
    session.show(&answer, |out, key| {
        out.field("Key", &key.id)?;
        if let Some(missing) = &key.missing {
            out.field("Missing", missing)?;
            return out.field("What to do", LOCKED_REMEDY);
        }
        let name = key.name.as_deref().unwrap_or("-");
        if key.credential {
            out.field("From", format!("the credential {name}"))?;
            // What systemd hands over does not tell what it was encrypted with.
            let how = "systemd-creds: by the TPM if it was encrypted with --with-key=tpm2, which systemd does not say";
            out.field("Protected by", how)?;
        } else {
            out.field("From", format!("the file {}", key.place.as_deref().unwrap_or("-")))?;
            out.field("Protected by", "a file only: whoever has the whole disk has it")?;
        }
        out.field("Since", key.since.as_deref().unwrap_or("not known: before that was noted"))?;
        match &key.former {
            Some(former) => out.field("Before", format!("{former}, until the change is done; it goes on by itself")),
            None => Ok(()),
        }
    })
}

fn rotate(session: &mut Session) -> Result<(), Failure> {
    let answer = session.client.post_long::<KeyRotated>("key/rotate", &json!({}))?;
    session.show(&answer, |out, rotated| {
        let KeyRotated { id, former, .. } = rotated;
        out.line(format!("Secrets are sealed with the key {id}."))?;
        if rotated.finished {
            out.line(format!("Nothing on this box needs the key before, {former}, any more."))?;
        } else {
            out.line(format!(
                "The key before, {former}, is needed until the change is done, which goes on by itself; `hydrophone key show` \
                 tells how it stands."
            ))?;
        }
        if rotated.credential {
            out.line("Give the new credential the name of the one before: `hydrophone key rotate --help` shows how.")?;
        }
        out.line(
            "Backups that were made before do not open with the new key: take another one, `hydrophone backup FILE --with-keys`.",
        )
    })
}
