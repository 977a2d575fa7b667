//! One connection a source, made when it is first needed and kept while nothing about it changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::WorkError;
use crate::domain::ids::SourceName;
use crate::domain::time::Timestamp;
use crate::sonar::client::{Client, Connection, Token};
use crate::sonar::dialect::{Dialect, Mode, Version};
use crate::store::records::Source;
use crate::store::{Store, catalogue};
use crate::sys::trust::Trust;

/// A source that can be asked.
pub struct Connected {
    /// Asks it.
    pub client: Client,
    /// How it wants to be asked.
    pub dialect: Dialect,
}

/// See the module.
pub struct Sources {
    store: Store,
    trust: Trust,
    connected: Mutex<HashMap<SourceName, Arc<Connected>>>,
}

impl Sources {
    /// Begins without connections.
    pub fn new(store: Store, trust: Trust) -> Self {
        Self { store, trust, connected: Mutex::new(HashMap::new()) }
    }

    /// The authorities that connections trust.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The connection to a source.
    pub fn connect(&self, name: &SourceName) -> Result<Arc<Connected>, WorkError> {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = connected.get(name) {
            return Ok(Arc::clone(known));
        }
        let (source, token) = self.store.read::<_, WorkError>(|view| {
            let source = catalogue::source(view, name)?.ok_or(WorkError::Gone)?;
            let token = catalogue::token(view, name)?.ok_or(WorkError::Gone)?;
            Ok((source, token))
        })?;
        let token = Token::parse(token.as_text()).map_err(|error| WorkError::Connect(error.to_string()))?;
        let dialect = dialect(&source);
        let client = Client::new(connection(&source, token), &self.trust)
            .map_err(|error| WorkError::Connect(error.to_string()))?;
        let fresh = Arc::new(Connected { client, dialect });
        connected.insert(name.clone(), Arc::clone(&fresh));
        Ok(fresh)
    }

    /// What the connected sources said last the time was, and how long ago.
    pub fn dates(&self) -> Vec<(SourceName, Timestamp, Duration)> {
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |(name, source): (&SourceName, &Arc<Connected>)| {
            let (date, ago) = source.client.last_date()?;
            Some((name.clone(), date, ago))
        };
        connected.iter().filter_map(said).collect()
    }

    /// Forgets a connection, as its source was changed or removed.
    pub fn forget(&self, name: &SourceName) {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// What a client needs to know of a source.
pub fn connection(source: &Source, token: Token) -> Connection {
    Connection {
        name: source.name.clone(),
        url: source.url.clone(),
        api_url: source.api_url.clone(),
        cloud: source.cloud,
        token,
        ca_pem: source.ca_pem.clone(),
        proxy: source.proxy.clone(),
    }
}

/// How a source wants to be asked, from what the last check found out.
fn dialect(source: &Source) -> Dialect {
    if source.cloud {
        return Dialect::cloud();
    }
    let version = source.version.as_deref().and_then(Version::parse).unwrap_or(Version::new(9, 9));
    let mode = if source.standard_mode { Mode::Standard } else { Mode::MultiQuality };
    Dialect::server(version, Dialect::has_modes(version).then_some(mode))
}
