//! Which of our states is which word of a platform.

use axum::Json;
use axum::extract::{Path, State};

use super::named;
use crate::admin::answers::Sent;
use crate::admin::{Problem, Shared, shapes};
use crate::domain::destination::{Destination, Mapping};
use crate::domain::finding::State as FindingState;
use crate::platform;
use crate::store::destinations;

/// `GET /destinations/{name}/mapping`.
pub(in crate::admin) async fn show(
    State(admin): Shared,
    Path(name): Path<String>,
) -> Result<Json<shapes::DestinationMapping>, Problem> {
    let mapping = admin
        .run(move |admin| {
            let (_, destination) = admin.store.read(|view| named(view, &name))?;
            Ok(shown(&destination))
        })
        .await?;
    Ok(Json(mapping))
}

fn shown(destination: &Destination) -> shapes::DestinationMapping {
    let (defaults, mapping) = (platform::words(destination.kind), &destination.mapping);
    let outward = FindingState::ALL.iter().map(|state| shapes::MappedState {
        state: state.to_string(),
        word: mapping.word(*state, defaults),
        own: mapping.outward.contains_key(&(*state as u8)),
    });
    let mut words: Vec<&str> = defaults.iter().map(|(_, word)| *word).collect();
    words.extend(mapping.inward.keys().map(String::as_str));
    words.sort_unstable();
    words.dedup();
    let inward = words.into_iter().map(|word| shapes::MappedWord {
        word: word.to_owned(),
        state: mapping.state(word, defaults).map(|state| state.to_string()),
        own: mapping.inward.contains_key(word),
    });
    shapes::DestinationMapping { outward: outward.collect(), inward: inward.collect() }
}

/// `PUT /destinations/{name}/mapping`.
pub(in crate::admin) async fn set(
    State(admin): Shared,
    Path(name): Path<String>,
    Sent(edit): Sent<shapes::MappingEdit>,
) -> Result<Json<shapes::DestinationMapping>, Problem> {
    let mapping = admin
        .run(move |admin| {
            let outward =
                edit.outward.into_iter().map(|(state, word)| Ok((state.parse::<FindingState>()? as u8, word)));
            let inward = edit.inward.into_iter().map(|(word, state)| {
                let state = state.map(|state| state.parse::<FindingState>()).transpose()?;
                Ok((word, state.map(|state| state as u8)))
            });
            let mapping = Mapping {
                outward: outward.collect::<Result<_, Problem>>()?,
                inward: inward.collect::<Result<_, Problem>>()?,
            };
            let destination = admin.store.write::<_, Problem>(move |batch| {
                let (id, destination) = named(batch, &name)?;
                if platform::words(destination.kind).is_empty() {
                    return Err(Problem::conflict(format!(
                        "a destination of kind {} has no statuses to map",
                        destination.kind
                    )));
                }
                let destination = Destination { mapping, ..destination };
                destinations::put(batch, id, &destination, None)?;
                Ok(destination)
            })?;
            Ok(shown(&destination))
        })
        .await?;
    Ok(Json(mapping))
}
