//! The thread that fetches certificates: when one is due, or somebody asks for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Certificates, LOOK_MAX, has_all, leaf, renew_at, seconds};
use crate::domain::certificate::Tries;
use crate::domain::limits::CLOCK_DIFFERENCE_MAX;
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Entry};
use crate::store::certificates::{self as kept, Acme, Given, Tried};
use crate::store::records::SecretBytes;
use crate::store::{Store, StoreError};
use crate::sys::acme::{self, Ask, Asker, Client, Issued, Kind, Trouble};
use crate::sys::{pair, tls};

/// What the thread does next.
#[derive(Debug)]
enum Due {
    /// Nothing, for so long.
    In(Duration),
    /// An attempt.
    Now {
        acme: Box<Acme>,
        by_hand: bool,
        /// From when on it is due by time alone.
        renew_at: Option<Timestamp>,
    },
}

impl Certificates {
    pub(super) fn run(self: &Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) {
            let heard = self.bell.rings();
            let asked = {
                let mut state = self.state();
                state.working |= state.asked;
                std::mem::take(&mut state.asked)
            };
            match self.due(asked) {
                Ok(Due::In(span)) => {
                    self.rest();
                    self.bell.wait(heard, span);
                }
                Ok(Due::Now { acme, by_hand, renew_at }) => {
                    self.state().working = true;
                    let done = self.attempt(&acme, by_hand, renew_at);
                    self.rest();
                    if let Err(error) = done {
                        tracing::warn!("what came of fetching a certificate could not be stored: {error}");
                        self.bell.wait(heard, LOOK_MAX);
                    }
                }
                Err(error) => {
                    self.rest();
                    tracing::warn!("whether a certificate is to be fetched could not be seen: {error}");
                    self.bell.wait(heard, LOOK_MAX);
                }
            }
        }
    }

    /// Nothing is being tried, unless somebody asked for it meanwhile.
    fn rest(&self) {
        let mut state = self.state();
        state.working = state.asked;
    }

    fn due(&self, asked: bool) -> Result<Due, StoreError> {
        let Some(fetching) = self.fetching()? else { return Ok(Due::In(LOOK_MAX)) };
        let now = self.work.clock.now();
        let acme = Box::new(fetching.acme);
        if asked && fetching.tried.tries().next_by_hand(now) <= now {
            return Ok(Due::Now { acme, by_hand: true, renew_at: None });
        }
        let has = fetching.fetched.as_ref().filter(|(_, told)| has_all(told, &acme.domains));
        // What has never been fetched does not depend on the time.
        let renew_at = has.map(|(_, told)| renew_at(told));
        if fetching.next > now {
            return Ok(Due::In(fetching.next.since(now).min(LOOK_MAX)));
        }
        if renew_at.is_some() && self.is_clock_wrong() {
            return Ok(Due::In(LOOK_MAX));
        }
        Ok(Due::Now { acme, by_hand: false, renew_at })
    }

    /// One attempt. It is noted before anybody is asked, so that not even a process that is killed again and again asks more
    /// often than it may.
    fn attempt(&self, acme: &Acme, by_hand: bool, renew_at: Option<Timestamp>) -> Result<(), StoreError> {
        let store = &self.work.store;
        let now = self.work.clock.now();
        let mut tries = self.tried()?.tries();
        tries.begin(now, by_hand);
        self.note(&tries, None)?;
        tracing::info!("fetching a certificate for {} from {}", acme.domains.join(", "), acme.directory);
        let done = self.asked(acme, by_hand, renew_at).and_then(|issued| usable(acme, issued));
        let now = self.work.clock.now();
        match done {
            Ok((issued, told)) => {
                tries.succeed();
                let wrong = clock_trouble(&told, now);
                let given = Given { fetched: true, chain: issued.chain, key: issued.key.to_string(), at: now };
                let entry = Entry {
                    at: now,
                    who: "hydrophone".to_owned(),
                    via: "acme".to_owned(),
                    what: "Fetch a certificate".to_owned(),
                    target: format!("{} from {}", acme.domains.join(", "), acme.directory).chars().take(300).collect(),
                    status: Some(200),
                    from: None,
                };
                let noted = Tried::new(&tries, wrong);
                let asked = acme.clone();
                let is_wanted = store.delete::<_, StoreError>(move |batch| {
                    // Somebody may have changed their mind meanwhile.
                    if kept::acme(batch)?.as_ref() != Some(&asked) {
                        return Ok(false);
                    }
                    kept::set_given(batch, Some(&given))?;
                    kept::set_tried(batch, &noted)?;
                    audit::note(batch, audit::Kind::Change, &entry).map(|_| true)
                })?;
                if is_wanted {
                    let until = seconds(told.not_after);
                    tracing::info!("fetched a certificate for {}, good until {until}", told.names.join(", "));
                    if let Err(error) = self.show_anew() {
                        tracing::error!("the listeners show the former certificate: {error}");
                    }
                }
                Ok(())
            }
            Err(trouble) if trouble.kind == Kind::Stopped => Ok(()),
            Err(trouble) => {
                tries.fail(now, trouble.pause);
                tracing::warn!("no certificate could be fetched: {}; {}", trouble.why, trouble.remedy);
                self.note(&tries, Some((trouble.why, trouble.remedy)))
            }
        }
    }

    fn note(&self, tries: &Tries, problem: Option<(String, String)>) -> Result<(), StoreError> {
        let noted = Tried::new(tries, problem);
        // Admitted on a full disk as deletions are.
        self.work.store.delete(move |batch| kept::set_tried(batch, &noted))
    }

    /// Asks the server, with the account that there is, or with a new one where the server does not know it.
    fn asked(&self, acme: &Acme, by_hand: bool, renew_at: Option<Timestamp>) -> Result<Issued, Trouble> {
        let client = Client::new(
            &acme.directory,
            acme.ca_pem.as_deref(),
            acme.proxy.as_deref(),
            self.trust(),
            Arc::clone(&self.stop),
        );
        let client = client.map_err(|error| {
            Trouble::new(Kind::Refused, error.to_string(), "say it anew: hydrophone certificate acme --help")
        })?;
        let reach = self.reach(acme);
        let mut answers = Answers {
            store: &self.work.store,
            now: &|| self.work.clock.now(),
            renew_at: renew_at.filter(|_| !by_hand),
            host: client.host().to_owned(),
        };
        loop {
            let account = self.account(acme).map_err(|error| Trouble::later(error.to_string(), ""))?;
            let ask = Ask {
                directory: &acme.directory,
                domains: &acme.domains,
                contact: &acme.contact,
                by_http: acme.by_http,
                bound_to: acme.bound_to.as_ref().map(|(id, key)| (id.as_str(), key.as_slice())),
                account: account.as_ref().map(SecretBytes::as_text),
                reach: &reach,
            };
            match acme::issue(&ask, &client, &self.challenges, &mut answers) {
                Err(trouble) if trouble.kind == Kind::NoAccount && account.is_some() => {
                    tracing::info!("{}; a new account is made", trouble.why);
                    let forgotten = self.work.store.delete::<_, StoreError>(|batch| kept::set_account(batch, None));
                    forgotten.map_err(|error| Trouble::later(error.to_string(), ""))?;
                }
                done => return done,
            }
        }
    }

    /// The account that was kept, where it is one of this server.
    fn account(&self, acme: &Acme) -> Result<Option<SecretBytes>, StoreError> {
        let account = self.work.store.read::<_, StoreError>(kept::account)?;
        Ok(account.filter(|account| {
            let read: Option<Kept> = serde_json::from_slice(account.as_bytes()).ok();
            read.is_some_and(|read| read.directory == acme.directory)
        }))
    }
}

/// Of an account that was kept, whose it is.
#[derive(serde::Deserialize)]
struct Kept {
    directory: String,
}

/// What is done and decided while the server is asked.
struct Answers<'a> {
    store: &'a Store,
    now: &'a dyn Fn() -> Timestamp,
    renew_at: Option<Timestamp>,
    host: String,
}

impl Asker for Answers<'_> {
    fn keep(&mut self, account: &str) -> Result<(), Trouble> {
        let secret = SecretBytes::new(account.as_bytes().to_vec());
        let kept = self.store.delete::<_, StoreError>(move |batch| kept::set_account(batch, Some(&secret)));
        kept.map_err(|error| Trouble::later(format!("the account could not be kept: {error}"), "free some space"))
    }

    /// By the server's time: what is due by our clock alone is not fetched because of it.
    fn go_on(&mut self, theirs: Option<Timestamp>) -> Result<(), Trouble> {
        let (Some(theirs), Some(renew_at)) = (theirs, self.renew_at) else { return Ok(()) };
        let now = (self.now)();
        let apart = theirs.since(now).max(now.since(theirs));
        if apart <= CLOCK_DIFFERENCE_MAX || renew_at <= theirs {
            return Ok(());
        }
        let why = format!(
            "{} says that it is {theirs}, and this box's clock says {now}: nothing is fetched because of that",
            self.host
        );
        Err(Trouble::new(Kind::Clock, why, "set this box's clock: timedatectl"))
    }
}

/// What came, if the listeners can show it.
fn usable(acme: &Acme, issued: Issued) -> Result<(Issued, tls::Described), Trouble> {
    let unfit = |why: String| {
        Trouble::new(
            Kind::Refused,
            format!("the certificate that came cannot be used: {why}"),
            "ask the server's operator",
        )
    };
    pair::stored(&issued.chain, &issued.key).map_err(|error| unfit(error.to_string()))?;
    let told = leaf(&issued.chain).and_then(|leaf| tls::describe(&leaf));
    let told = told.ok_or_else(|| unfit("it cannot be read".to_owned()))?;
    if has_all(&told, &acme.domains) {
        Ok((issued, told))
    } else {
        Err(unfit(format!("it is made for {}", told.names.join(", "))))
    }
}

/// That a certificate that was made just now is not good by this box's clock.
fn clock_trouble(told: &tls::Described, now: Timestamp) -> Option<(String, String)> {
    let (begins, ends) = (seconds(told.not_before), seconds(told.not_after));
    let is_behind = begins.since(now) > CLOCK_DIFFERENCE_MAX;
    (is_behind || ends <= now).then(|| {
        (
            format!(
                "the certificate that came just now is good from {begins} until {ends}, and this box's clock says {now}"
            ),
            "set this box's clock: timedatectl".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::bell::Bell;

    /// A clock that is years ahead has every certificate look as good as ended: by the server's time it is not, and nothing is
    /// fetched. One that is behind does not keep back what is due.
    #[test]
    fn what_is_due_by_a_wrong_clock_alone_is_not_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::new(Bell::default())).unwrap();
        let (due, hour) = (Timestamp(1_800_000_000_000), Duration::from_hours(1));
        let go_on = |ours: Timestamp, theirs, renew_at| {
            let now = || ours;
            let mut answers = Answers { store: &store, now: &now, renew_at, host: "ca.example".to_owned() };
            answers.go_on(theirs).map_err(|trouble| (trouble.kind, trouble.why, trouble.remedy))
        };
        let ahead = due.plus(hour * 24 * 365);
        let (kind, why, remedy) = go_on(ahead, Some(due.minus(hour * 48)), Some(due)).unwrap_err();
        assert_eq!(kind, Kind::Clock);
        assert!(
            why.contains("ca.example says that it is 2027-01-13T") && why.contains("clock says 2028-01-15T"),
            "{why}"
        );
        assert!(remedy.contains("clock"), "{remedy}");
        assert_eq!(go_on(ahead, Some(due.plus(hour)), Some(due)), Ok(()), "it is due there, too");
        assert_eq!(go_on(due.plus(hour / 2), Some(due.minus(hour / 4)), Some(due)), Ok(()), "they agree");
        // Whoever has none, or asks for one, gets it.
        assert_eq!(go_on(ahead, Some(due), None), Ok(()));
        assert_eq!(go_on(ahead, None, Some(due)), Ok(()));
    }

    #[test]
    fn a_certificate_of_just_now_that_is_not_good_now_tells_of_the_clock() {
        let told = tls::describe(&tls::Identity::self_signed(vec!["a.example".into()]).unwrap().certificate).unwrap();
        let of = |now: i64| clock_trouble(&told, seconds(now)).map(|(why, _)| why);
        assert_eq!(of(told.not_before), None);
        assert!(of(told.not_before - 86_400).is_some_and(|why| why.contains("2023-12-31T")));
        assert!(of(told.not_after).is_some());
    }
}
