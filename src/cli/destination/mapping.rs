//! Which of our states is which status of a platform.

use clap::Args;

use super::pair;
use crate::admin::shapes::{DestinationMapping, MappingEdit};
use crate::cli::Session;
use crate::cli::client::{Answer, Failure, path};
use crate::cli::table::{Output, cell, cell_of, table};

/// Which state is which status.
#[derive(Debug, Args)]
pub struct Mapping {
    /// Name the destination.
    name: String,
    /// Tell a state by this word of the platform; may be repeated.
    #[arg(long = "tell", value_name = "STATE=WORD", value_parser = pair)]
    outward: Vec<(String, String)>,
    /// Understand a word of the platform as this state, or as nothing where the state is empty; may be repeated.
    #[arg(long = "understand", value_name = "WORD=STATE", value_parser = pair)]
    inward: Vec<(String, String)>,
    /// Begin with the platform's defaults.
    #[arg(long)]
    reset: bool,
}

impl Mapping {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let path = path(&["destinations", &self.name, "mapping"]);
        if self.outward.is_empty() && self.inward.is_empty() && !self.reset {
            let answer: Answer<DestinationMapping> = session.client.get(&path)?;
            return session.show(&answer, print_mapping);
        }
        let mut edit = MappingEdit::default();
        if !self.reset {
            let known: Answer<DestinationMapping> = session.client.get(&path)?;
            let outward = known.value.outward.into_iter().filter(|mapped| mapped.own);
            edit.outward = outward.filter_map(|mapped| Some((mapped.state, mapped.word?))).collect();
            let inward = known.value.inward.into_iter().filter(|mapped| mapped.own);
            edit.inward = inward.map(|mapped| (mapped.word, mapped.state)).collect();
        }
        edit.outward.extend(self.outward);
        edit.inward.extend(self.inward.into_iter().map(|(word, state)| (word, Some(state).filter(|s| !s.is_empty()))));
        let answer: Answer<DestinationMapping> = session.client.put(&path, &edit)?;
        session.show(&answer, print_mapping)
    }
}

fn print_mapping(out: &mut Output, mapping: &DestinationMapping) -> Result<(), Failure> {
    if mapping.inward.is_empty() && mapping.outward.iter().all(|mapped| mapped.word.is_none()) {
        return out.line("This platform has no statuses to map.");
    }
    let own = |own: bool| cell(if own { "yours" } else { "" });
    let mut rows = table(&["our state", "is told as", ""]);
    for mapped in &mapping.outward {
        rows.add_row([cell(&mapped.state), cell_of(mapped.word.as_deref()), own(mapped.own)]);
    }
    out.table(rows)?;
    out.line("")?;
    let mut rows = table(&["platform's word", "means", ""]);
    for mapped in &mapping.inward {
        rows.add_row([cell(&mapped.word), cell(mapped.state.as_deref().unwrap_or("nothing")), own(mapped.own)]);
    }
    out.table(rows)
}
