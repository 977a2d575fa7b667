//! `config`: the settings; and the whole set-up as one document.

mod apply;
mod document;
mod offered;
mod plan;
mod state;

use std::path::PathBuf;

use clap::Subcommand;
use serde::Deserialize;

pub(super) use self::offered::{carried_out, for_others};
use super::Session;
use super::client::{Answer, Failure, path};
use super::table::{cell, cell_of, clean, table};
use crate::admin::shapes::{NewValue, SettingList};

/// A document as somebody may have written it: what can be read can be written, and reads the same. See
/// [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match document::Document::parse(text) {
        Ok(document) => {
            let written = serde_json::to_string(&document).expect("it can be written");
            assert_eq!(document::Document::parse(&written), Ok(document));
        }
        Err(wrong) => assert!(!wrong.0.is_empty()),
    }
}

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every setting with its value and what it is for.
    Show,
    /// Change a setting; an empty VALUE brings its default back.
    #[command(after_help = "Examples:\n  hydrophone config set public-url https://hooks.example.com\n  \
        hydrophone config set public-url \"\"")]
    Set {
        /// Name the setting, as `config show` lists it.
        key: String,
        /// Give its new value.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Write the whole set-up as one document, without secrets.
    #[command(
        after_help = "Settings, sources, organizations' filters, assets, projects, webhooks, destinations, users and \
        their roles. In the\nplace of each secret stands where `config apply` looks for it: {\"env\": \"NAME\"}, {\"file\": \
        \"/path\"} or {\"credential\": \"NAME\"}.\n\nExamples:\n  hydrophone config export box.json\n  \
        hydrophone config export | jq .projects"
    )]
    Export {
        /// Write to this file instead of standard output.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Bring this box to what a document says.
    #[command(
        after_help = "The document is checked whole before anything is changed; what it does not name stays as it \
        is. Done twice, the\nsecond time changes nothing. Secrets are read here, where the command runs, when something \
        is added; of what\nexists they are set only with --set-secrets. With --json the answer says \"changed\": true or \
        false.\n\nExamples:\n  hydrophone config apply box.json --dry-run\n  \
        HYDROPHONE_SOURCE_EU_TOKEN=… hydrophone config apply box.json --json"
    )]
    Apply {
        /// Read this file, or standard input for `-`.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Show line by line what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Remove what the document's parts do not name; parts that are absent stay as they are.
        #[arg(long)]
        prune: bool,
        /// Set the secrets of what exists, too.
        #[arg(long)]
        set_secrets: bool,
    },
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Show => show(session),
            Self::Set { key, value } => set(session, &key, value),
            Self::Export { file } => apply::export(session, file.as_deref()),
            Self::Apply { file, dry_run, prune, set_secrets } => {
                apply::apply(session, &file, plan::How { prune, secrets: set_secrets }, dry_run)
            }
        }
    }
}

fn show(session: &mut Session) -> Result<(), Failure> {
    let answer: Answer<SettingList> = session.client.get("config")?;
    session.show(&answer, |out, list| {
        let mut rows = table(&["setting", "value", "default", "what it is"]);
        for setting in &list.settings {
            let (value, default) = (setting.value.as_deref(), setting.default.as_deref());
            rows.add_row([cell(&setting.key), cell_of(value), cell_of(default), cell(&setting.help)]);
        }
        out.table(rows)
    })
}

fn set(session: &mut Session, key: &str, value: String) -> Result<(), Failure> {
    let new = NewValue { value: Some(value).filter(|value| !value.is_empty()) };
    let answer: Answer<Noted> = session.client.put(&path(&["config", key]), &new)?;
    session.show(&answer, |out, noted| {
        match &new.value {
            Some(value) => out.line(format_args!("{} is now {}.", clean(key), clean(value)))?,
            None => out.line(format_args!("{} has its default again.", clean(key)))?,
        }
        noted.notes.iter().try_for_each(|note| out.line(format_args!("Note: {}.", clean(note))))
    })
}

/// Of a setting that was set, what there is to say of it.
#[derive(Deserialize)]
struct Noted {
    #[serde(default)]
    notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use serde_json::json;

    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;

    #[test]
    fn an_empty_value_takes_the_setting_away() {
        let daemon = FakeDaemon::start(|_, _| (200, "{}".to_owned()));
        assert_eq!(told(&daemon, &["config", "set", "public-url", ""]).0, "public-url has its default again.\n");
        assert_eq!(told(&daemon, &["config", "set", "public-url", "x"]).0, "public-url is now x.\n");
        let bodies: Vec<_> = daemon.asked().into_iter().map(|(_, body)| body).collect();
        assert_eq!(bodies, [json!({"value": null}), json!({"value": "x"})]);
    }

    /// A link could lead to a file of the system's, and a disk that is full could leave neither the former file nor this one.
    #[test]
    fn an_export_takes_the_place_of_a_link_or_file_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("export.json"), folder.path().join("other"));
        std::fs::write(&other, "untouched").unwrap();
        let parts = ["settings", "sources", "organizations", "assets", "projects", "webhooks", "destinations", "users"];
        let daemon = FakeDaemon::start(move |_, _| {
            (200, serde_json::Value::from_iter(parts.map(|one| (one, json!([])))).to_string())
        });
        let line = ["config", "export", path.to_str().unwrap()];
        for linked in [true, false] {
            let _ = std::fs::remove_file(&path);
            if linked {
                symlink("other", &path).unwrap();
            } else {
                std::fs::write(&path, "former").unwrap();
            }
            let (text, done) = told(&daemon, &line);
            assert!(done.is_ok(), "{text} {done:?}");
            let made = std::fs::symlink_metadata(&path).unwrap();
            assert!(made.is_file(), "the link is gone");
            assert_eq!(made.permissions().mode() & 0o777, 0o600);
            assert!(std::fs::read_to_string(&path).unwrap().contains("\"hydrophone\": 1"));
        }
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "untouched");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
