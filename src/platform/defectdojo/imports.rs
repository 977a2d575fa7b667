//! The imports of one push: one after the other, announced by the name that the server's history will know each by, and
//! taken apart where a whole file is not taken.

use std::borrow::Cow;

use serde_json::Value;

use super::calls::Sent;
use super::push::Deed;
use super::status::Status;
use super::wire::SCAN_TYPE;
use super::{DefectDojo, keys, rows};
use crate::domain::message::{Place, Target};
use crate::platform::Trouble;
use crate::sys::dice::Dice;

impl DefectDojo {
    /// Sends the next row of each of these, in halves where the whole is not taken.
    pub(super) fn import(
        &mut self,
        place: &Place,
        target: &mut Target,
        deeds: &mut [Deed<'_>],
        which: &[usize],
        import: &mut Import,
    ) -> Result<(), Trouble> {
        let rows: Vec<Value> = which.iter().map(|at| self.row(place, &deeds[*at])).collect();
        let why = match self.send(target, import, &rows)? {
            Taken::Yes => {
                for at in which {
                    deeds[*at].way.rows.pop_front();
                }
                return Ok(());
            }
            Taken::No(why) => why,
        };
        if let ([only], Some(sentence)) = (which, &why.refused) {
            deeds[*only].refused = Some(sentence.clone());
            return Ok(());
        }
        if let [only] = which {
            // Is it this row, or does the server take none?
            return match self.send(target, import, &[])? {
                Taken::Yes => {
                    let sentence = format!("DefectDojo cannot store this finding; its import breaks off: {}", why.text);
                    (deeds[*only].refused, deeds[*only].broke) = (Some(sentence), true);
                    Ok(())
                }
                Taken::No(why) => {
                    Err(Trouble::later(format!("{} takes no imports for now: {}", self.calls.host(), why.text)))
                }
            };
        }
        let (first, second) = which.split_at(which.len() / 2);
        self.import(place, target, deeds, first, import)?;
        self.import(place, target, deeds, second, import)
    }

    fn row(&self, place: &Place, deed: &Deed<'_>) -> Value {
        let status = deed.way.rows.front().copied().unwrap_or(deed.to);
        // A finding whose id is known was given its new key before.
        let is_old = deed.id.is_none() && deed.known.state.is_some() && deed.to == Status::Mitigated;
        let key = if is_old { &deed.known.key } else { &deed.message.finding.observed.key };
        let birth = deed.birth.as_ref().map_or_else(|| Cow::Owned(rows::birth(place, deed.message)), Cow::Borrowed);
        rows::row((place, deed.message), &birth, key.as_str(), status, self.verified_always)
    }

    /// One import, and whether it was taken.
    fn send(&mut self, target: &mut Target, import: &mut Import, rows: &[Value]) -> Result<Taken, Trouble> {
        if import.sent >= IMPORTS_MAX {
            return Err(Trouble::later(format!("{} refuses row after row", self.calls.host())));
        }
        let build_id = import.next_id();
        target.set(keys::IMPORTING, build_id.as_str());
        let taken = match self.calls.reimport(&import.form(&build_id), rows) {
            Sent::Done(imported) => {
                import.made = import.made.zip(imported.statistics.created()).map(|(all, new)| all + new);
                Taken::Yes
            }
            Sent::Broke(text) => {
                import.made = None;
                if self.calls.has_ended(&import.test, &build_id)? {
                    Taken::Yes
                } else {
                    Taken::No(Why { text, refused: None })
                }
            }
            Sent::Refused(text) => {
                let refused = Some(format!("DefectDojo refuses this finding: {text}"));
                Taken::No(Why { text, refused })
            }
            Sent::Not(trouble) => {
                target.0.remove(keys::IMPORTING);
                return Err(trouble);
            }
            Sent::Unknown(trouble) => return Err(trouble),
        };
        target.0.remove(keys::IMPORTING);
        Ok(taken)
    }
}

/// The imports of one push.
pub(super) struct Import {
    pub(super) test: String,
    fields: Vec<(&'static str, String)>,
    id: String,
    pub(super) sent: usize,
    /// How many findings they made, as long as each of them says so.
    pub(super) made: Option<u64>,
}

impl Import {
    pub(super) fn new(test: &str, place: &Place, announced: Option<&str>, dice: &Dice) -> Self {
        let id = announced.map(|mark| id_of(mark).to_owned());
        let mut fields = vec![
            ("scan_type", SCAN_TYPE.to_owned()),
            ("test", test.to_owned()),
            // Nothing is closed by being absent.
            ("close_old_findings", "false".to_owned()),
            // With the answer everything is done.
            ("deduplication_execution_mode", "sync".to_owned()),
            // What is left out is wiped on the Test.
            ("branch_tag", rows::fit(place.branch.as_str(), TAG_MAX)),
            ("commit_hash", rows::fit(place.revision.as_deref().unwrap_or_default(), TAG_MAX)),
        ];
        if let Some(at) = place.analysed_at {
            fields.push(("version", at.to_string()));
        }
        fields.retain(|(_, value)| !value.is_empty());
        let id = id.unwrap_or_else(|| dice.label().to_string());
        Self { test: test.to_owned(), fields, id, sent: 0, made: Some(0) }
    }

    /// What the server's history will know the next import by. The first has the announced one.
    fn next_id(&mut self) -> String {
        self.sent += 1;
        if self.sent == 1 { self.id.clone() } else { format!("{}.{}", self.id, self.sent) }
    }

    fn form(&self, build_id: &str) -> Vec<(&'static str, String)> {
        let mut form = self.fields.clone();
        form.push(("build_id", build_id.to_owned()));
        form
    }
}

enum Taken {
    Yes,
    No(Why),
}

/// Why a file was not taken.
struct Why {
    text: String,
    /// For a row that is alone in it, where that is enough to know.
    refused: Option<String>,
}

/// The build id of an import that may be under way. A time followed it once, of a clock that people set.
pub(super) fn id_of(mark: &str) -> &str {
    mark.split(' ').next().unwrap_or_default()
}

/// To find one bad row among 500 takes nine halvings.
const IMPORTS_MAX: usize = 100;

/// Of a branch's name the column takes so much.
const TAG_MAX: usize = 150;
