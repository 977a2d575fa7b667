//! `config export` and `config apply`: a box's set-up as one document, and a box brought to what one says.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::super::Session;
use super::super::client::{Answer, Client, Failure};
use super::super::export::Draft;
use super::super::table::clean;
use super::document::Document;
use super::plan::{Call, How, Step, plan};
use super::state;

/// Writes the document to a file, or to standard output.
pub(super) fn export(session: &mut Session, path: Option<&Path>) -> Result<(), Failure> {
    let document = state::read(&session.client)?;
    let text = serde_json::to_string_pretty(&document).map_err(|error| Failure::Lost(error.to_string()))?;
    let Some(path) = path.filter(|path| *path != Path::new("-")) else { return session.out.document(&text) };
    Draft::write(path, &text)?;
    if session.out.json {
        return session.out.document(&json!({ "file": path.display().to_string() }).to_string());
    }
    session.out.line(format_args!(
        "Wrote {}. Secrets are not in it: it says where `config apply` looks for them.",
        path.display()
    ))
}

/// Brings the box to what a document says, or says what that would change.
pub(super) fn apply(session: &mut Session, path: &Path, how: How, dry_run: bool) -> Result<(), Failure> {
    let text = read(path)?;
    let wanted = Document::parse(&text).map_err(|wrong| input(format!("{}: {}", path.display(), wrong.0)))?;
    let now = state::read(&session.client)?;
    let steps = plan(&now, &wanted, how).map_err(|problem| input(format!("{}: {problem}", path.display())))?;
    let mut told = Told { changes: Vec::new(), secrets: Vec::new(), failed: None };
    for step in &steps {
        if !session.out.json {
            show(session, step)?;
        }
        if !dry_run {
            match carry_out(&session.client, &step.call) {
                Ok(answer) => told.note(step, &answer),
                Err(failure) => {
                    told.failed = Some((step, failure));
                    break;
                }
            }
        }
        told.changes.push(json!({ "action": step.action, "kind": step.kind, "name": step.name, "lines": step.lines }));
    }
    told.end(session, dry_run)
}

struct Told<'s> {
    changes: Vec<Value>,
    /// What is told only this once: the secret that a destination got, the link by which a user chooses a password.
    secrets: Vec<Value>,
    failed: Option<(&'s Step, Failure)>,
}

impl Told<'_> {
    fn note(&mut self, step: &Step, answer: &Value) {
        for member in ["secret", "link"] {
            if let (Some(text), "add") = (answer[member].as_str(), step.action)
                && matches!(step.kind, "destination" | "user")
                // One that was given is no news.
                && !matches!(&step.call, Call::Post(_, body) if body.get(member).is_some())
            {
                self.secrets.push(json!({ "kind": step.kind, "name": step.name, member: text }));
            }
        }
    }

    fn end(self, session: &mut Session, dry_run: bool) -> Result<(), Failure> {
        let failed = self.failed.as_ref().map(|(step, failure)| {
            json!({ "kind": step.kind, "name": step.name, "detail": failure.to_string(), "remedy": failure.hint() })
        });
        let changed = !self.changes.is_empty();
        if session.out.json {
            let mut document = json!({ "changed": changed, "dry_run": dry_run, "changes": self.changes });
            if !self.secrets.is_empty() {
                document["told_once"] = Value::Array(self.secrets);
            }
            if let Some(failed) = failed {
                document["failed"] = failed;
            }
            session.out.document(&document.to_string())?;
        } else {
            for secret in &self.secrets {
                let text = secret["secret"].as_str().or_else(|| secret["link"].as_str()).unwrap_or_default();
                let name = clean(secret["name"].as_str().unwrap_or_default()).to_string();
                session.out.line(format_args!("Told only now, for {name}: {}", clean(text)))?;
            }
            let count = self.changes.len();
            match (changed, dry_run) {
                (false, _) if self.failed.is_none() => session.out.line("Nothing is to be changed.")?,
                (_, true) => session.out.line(format_args!("{count} to be changed; nothing was."))?,
                (_, false) => session.out.line(format_args!("{count} changed."))?,
            }
        }
        let Some((step, failure)) = self.failed else { return Ok(()) };
        session.out.flush()?;
        super::super::note(&format!("error: {} {} was not done: {failure}", step.kind, step.name));
        if let Some(hint) = failure.hint() {
            super::super::note(&format!("hint: {hint}"));
        }
        super::super::note("What stands before it is done; the same command goes on from there.");
        Err(Failure::Told)
    }
}

fn show(session: &mut Session, step: &Step) -> Result<(), Failure> {
    let mark = match step.action {
        "add" => '+',
        "remove" => '-',
        _ => '~',
    };
    session.out.line(format_args!("{mark} {} {}", step.kind, clean(&step.name)))?;
    step.lines.iter().try_for_each(|line| session.out.line(format_args!("    {}", clean(line))))
}

pub(super) fn carry_out(client: &Client, call: &Call) -> Result<Value, Failure> {
    let answer: Answer<Value> = match call {
        Call::Get(path) => client.get(path)?,
        Call::Post(path, body) => client.post_long(path, body)?,
        Call::Put(path, body) => client.put(path, body)?,
        Call::Patch(path, body) => client.patch_long(path, body)?,
        Call::Delete(path) => client.delete(path)?,
    };
    Ok(answer.value)
}

pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(DOCUMENT_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(DOCUMENT_BYTES_MAX).read_to_string(&mut text))
    };
    match read {
        Ok(bytes) if (bytes as u64) < DOCUMENT_BYTES_MAX => Ok(text),
        Ok(_) => Err(input(format!("{} is longer than {} MiB", path.display(), DOCUMENT_BYTES_MAX >> 20))),
        Err(error) => Err(input(format!("cannot read {}: {error}", path.display()))),
    }
}

pub(super) fn input(text: String) -> Failure {
    Failure::Input { text, hint: "Nothing was changed. `hydrophone config export` shows the form." }
}

/// Ten thousand projects are three.
const DOCUMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
