//! `config`: the settings.

use clap::Subcommand;
use serde::de::IgnoredAny;

use super::Session;
use super::client::{Answer, Failure, path};
use super::table::{cell, cell_of, clean, table};
use crate::admin::shapes::{NewValue, SettingList};

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
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Show => show(session),
            Self::Set { key, value } => set(session, &key, value),
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
    let answer: Answer<IgnoredAny> = session.client.put(&path(&["config", key]), &new)?;
    session.show(&answer, |out, _| match &new.value {
        Some(value) => out.line(format_args!("{} is now {}.", clean(key), clean(value))),
        None => out.line(format_args!("{} has its default again.", clean(key))),
    })
}

#[cfg(test)]
mod tests {
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
}
