//! The listeners' certificate: where it is from, on which way SonarQube comes to trust it, when its end is worth a word,
//! and when it is fetched anew.

use std::time::Duration;

use super::condition::{Condition, Urgency};
use super::limits::{ACME_DELAY_MAX, ACME_DELAY_MIN, ACME_TRIES_A_DAY, ACME_TRIES_BY_HAND_A_DAY, ACME_WAIT_MAX};
use super::time::Timestamp;

/// Where the certificate is from. The first of these that there is counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Files that an administrator put on the box.
    Files,
    /// `certificate set`.
    Given,
    /// An ACME server.
    Acme,
    /// This box itself.
    Own,
}

impl Origin {
    /// Its word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Given => "set",
            Self::Acme => "acme",
            Self::Own => "own",
        }
    }
}

/// What makes a certificate believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// An authority that the box's system knows.
    System,
    /// An authority that nobody knows who was not told.
    Private,
    /// Nothing but itself.
    Itself,
}

impl Anchor {
    /// Its word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Private => "private",
            Self::Itself => "itself",
        }
    }
}

/// The way on which SonarQube trusts this box, or does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The certificate is fetched and renewed by ACME.
    Acme,
    /// It is one of an authority that is known.
    OwnCertificate,
    /// It is of an authority of one's own, or signed by itself: a Server must be told.
    TrustStore(Anchor),
    /// Somebody in front of this box speaks TLS.
    Proxy,
    /// Nobody calls; SonarQube is polled.
    PollOnly,
}

/// An authority that nobody knows who was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Whose it is.
    pub name: String,
    /// Whether the chain holds its certificate.
    pub held: bool,
}

/// Decides which way a box is on. `tls` is whether its webhook listener speaks TLS itself.
pub fn way(listening: bool, tls: bool, shown: Option<(Origin, Anchor)>) -> Way {
    match (listening, tls, shown) {
        (false, ..) => Way::PollOnly,
        (true, false, _) | (true, true, None) => Way::Proxy,
        (true, true, Some((Origin::Acme, Anchor::System))) => Way::Acme,
        (true, true, Some((_, Anchor::System))) => Way::OwnCertificate,
        (true, true, Some((_, anchor))) => Way::TrustStore(anchor),
    }
}

impl Way {
    /// Its word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::OwnCertificate => "own_certificate",
            Self::TrustStore(_) => "trust_store",
            Self::Proxy => "proxy",
            Self::PollOnly => "poll_only",
        }
    }

    /// What it is, for a person.
    pub fn text(self) -> &'static str {
        match self {
            Self::Acme => "The certificate is fetched and renewed by ACME, and SonarQube trusts its authority",
            Self::OwnCertificate => "The certificate is one of your own, of an authority that is generally trusted",
            Self::TrustStore(Anchor::Itself) => {
                "The certificate is signed by itself, and SonarQube refuses such a one unless it was told to trust it"
            }
            Self::TrustStore(_) => {
                "The certificate is of an authority of your own, which SonarQube refuses unless it was told to trust it"
            }
            Self::Proxy => {
                "A proxy or tunnel in front of this box speaks TLS with SonarQube, and shows its own certificate"
            }
            Self::PollOnly => "This box takes no webhooks: SonarQube is polled, with the same results",
        }
    }

    /// What is to be done for a SonarQube Cloud (true), a Server (false) or either; nothing where all is well. Of a chain that
    /// ends at an authority of one's own it is that one's certificate that a Server is told of: the box's is another one after
    /// each renewal.
    pub fn remedy(self, cloud: Option<bool>, authority: Option<&Authority>) -> Option<String> {
        let Self::TrustStore(_) = self else { return None };
        let (what, get) = match authority {
            None => ("it".to_owned(), "`hydrophone certificate show --pem > hydrophone.pem`, and".to_owned()),
            Some(Authority { name, held: true }) => (
                format!("the authority's own certificate, \"{name}\","),
                "`hydrophone certificate show --ca-pem > hydrophone.pem`, and".to_owned(),
            ),
            Some(Authority { name, held: false }) => (
                format!("the authority's own certificate, \"{name}\","),
                "get it as hydrophone.pem from whoever runs that authority (this box does not have it), and".to_owned(),
            ),
        };
        let server = format!("{get} on the Server `{KEYTOOL}`, then restart it");
        Some(match cloud {
            Some(true) => format!("SonarQube Cloud cannot be told to trust it: {OTHER_WAYS}"),
            Some(false) => format!("add {what} to the trust store of the Server's Java: {server}; or {OTHER_WAYS}"),
            None => {
                format!(
                    "for a Server, add {what} to its Java's trust store: {server}; for SonarQube Cloud {OTHER_WAYS}"
                )
            }
        })
    }
}

/// What has a Server's Java trust a certificate.
pub const KEYTOOL: &str = "keytool -importcert -cacerts -noprompt -alias hydrophone -file hydrophone.pem";

const OTHER_WAYS: &str = "take a certificate that is generally trusted (`hydrophone certificate acme`, `hydrophone certificate \
    set`), or a proxy or tunnel that has one (`serve --webhook-plain`)";

/// What is to be done for another certificate in place of one that ends.
pub fn renewal(origin: Origin, files: Option<(&str, &str)>) -> String {
    match origin {
        Origin::Files => {
            let (certificate, key) = files.unwrap_or(("/etc/hydrophone/tls.crt", "/etc/hydrophone/tls.key"));
            format!(
                "put a new one with its chain into {certificate} and its key into {key}, then: systemctl reload hydrophone"
            )
        }
        Origin::Given => "get a new one, then: hydrophone certificate set --cert FILE --key FILE".to_owned(),
        Origin::Acme => "hydrophone certificate renew tries it at once and says what is in the way".to_owned(),
        Origin::Own => "hydrophone certificate self-signed makes a new one".to_owned(),
    }
}

/// What is to be done where a certificate does not bear the name that SonarQube calls.
pub fn renaming(origin: Origin, host: &str) -> String {
    let other = match origin {
        Origin::Own => {
            return "`hydrophone certificate self-signed` makes one that does, which is then to be imported into the Server's \
                    trust store"
                .to_owned();
        }
        Origin::Files => "put one there that does, then run `systemctl reload hydrophone`".to_owned(),
        Origin::Given => {
            "have one issued that does, then: hydrophone certificate set --cert FILE --key FILE".to_owned()
        }
        Origin::Acme => format!("`hydrophone certificate acme --domain {host} --agree-to-terms` fetches one that does"),
    };
    format!("{other}; or have SonarQube call a name that it bears: hydrophone config set public-url URL")
}

/// How near the end of a certificate is; nothing while it is far. One that is fetched by itself is only told of once it
/// should have been fetched anew long ago.
pub fn nearing(origin: Origin, not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> Option<Urgency> {
    let left = not_after.since(now);
    let life = not_after.since(not_before);
    let (soon, very_soon) = match origin {
        Origin::Acme => (ENDS_SOON.min(life / 4), ENDS_VERY_SOON.min(life / 12)),
        _ => (ENDS_SOON, ENDS_VERY_SOON),
    };
    if left <= very_soon {
        Some(Urgency::Error)
    } else if left <= soon {
        Some(Urgency::Warning)
    } else {
        None
    }
}

const DAY: Duration = Duration::from_hours(24);
const ENDS_SOON: Duration = Duration::from_hours(30 * 24);
const ENDS_VERY_SOON: Duration = Duration::from_hours(7 * 24);

/// The condition that a certificate ends soon, or has ended.
pub fn ending(
    origin: Origin,
    not_before: Timestamp,
    not_after: Timestamp,
    now: Timestamp,
    remedy: String,
) -> Option<Condition> {
    let urgency = nearing(origin, not_before, not_after, now)?;
    let left = not_after.since(now);
    let text = match left.as_secs() {
        0 => format!("the certificate of the listeners has ended at {not_after}: SonarQube's calls fail"),
        1..86_400 => format!("the certificate of the listeners ends within a day, at {not_after}"),
        86_400..172_800 => format!("the certificate of the listeners ends in a day, at {not_after}"),
        seconds => format!("the certificate of the listeners ends in {} days, at {not_after}", seconds / 86_400),
    };
    let code = if left.is_zero() { "certificate_ended" } else { "certificate_ends" };
    Some(Condition { urgency, code, text, remedy })
}

/// When a certificate is fetched anew: at two thirds of its life, less a share of a twentieth of it, so that not all that
/// began together come back together.
pub fn renew_at(not_before: Timestamp, not_after: Timestamp, share: u8) -> Timestamp {
    let life = not_after.since(not_before);
    not_before.plus(life * 2 / 3).minus(life / 20 * u32::from(share) / 255)
}

/// What was tried, so that nobody is asked too often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tries {
    /// When by itself, in the last day; the newest last.
    pub at: Vec<Timestamp>,
    /// When because somebody asked for it, likewise.
    pub by_hand: Vec<Timestamp>,
    /// How many failed in a row since somebody last asked for one.
    pub failed: u32,
    /// Before this the server does not want to be asked again.
    pub not_before: Option<Timestamp>,
}

impl Tries {
    /// Notes that one is made. Whoever asks for one has changed something, or is about to: what failed before says nothing of
    /// what comes.
    pub fn begin(&mut self, now: Timestamp, by_hand: bool) {
        self.forget(now);
        if by_hand {
            self.failed = 0;
            self.by_hand.push(now);
        } else {
            self.at.push(now);
        }
    }

    /// When the last one was made.
    pub fn last(&self) -> Option<Timestamp> {
        self.at.last().max(self.by_hand.last()).copied()
    }

    /// Notes that it failed, and for how long the server wants to be left alone.
    pub fn fail(&mut self, now: Timestamp, pause: Option<Duration>) {
        self.failed = self.failed.saturating_add(1);
        self.not_before = pause.map(|pause| now.plus(pause.min(ACME_WAIT_MAX)));
    }

    /// Notes that it went well.
    pub fn succeed(&mut self) {
        self.failed = 0;
        self.not_before = None;
    }

    /// What a clock noted that was far ahead counts for nothing.
    fn forget(&mut self, now: Timestamp) {
        for tries in [&mut self.at, &mut self.by_hand] {
            tries.retain(|at| now.since(*at) < DAY && at.since(now) < DAY);
        }
    }

    /// When the next one may be made by itself; `share` spreads them.
    pub fn next(&self, now: Timestamp, share: u8) -> Timestamp {
        let Some(last) = self.last().filter(|at| at.since(now) < DAY) else { return self.allowed(now) };
        let doubled = ACME_DELAY_MIN.saturating_mul(2_u32.saturating_pow(self.failed.saturating_sub(1)));
        let delay = if self.failed == 0 { Duration::ZERO } else { doubled.min(ACME_DELAY_MAX) };
        let spread = delay / 10 * u32::from(share) / 255;
        spaced(&self.at, now, ACME_TRIES_A_DAY).max(last.plus(delay + spread)).max(self.allowed(now))
    }

    /// When the next one may be made that a person asks for.
    pub fn next_by_hand(&self, now: Timestamp) -> Timestamp {
        let mut all = [self.at.as_slice(), &self.by_hand].concat();
        all.sort_unstable();
        spaced(&all, now, ACME_TRIES_BY_HAND_A_DAY).max(self.allowed(now))
    }

    fn allowed(&self, now: Timestamp) -> Timestamp {
        // A time further away was noted by a clock that was wrong.
        self.not_before.filter(|until| until.since(now) <= ACME_WAIT_MAX).map_or(now, |until| until.max(now))
    }
}

/// Now, or when the oldest of so many in a day is a day old.
fn spaced(tries: &[Timestamp], now: Timestamp, most: usize) -> Timestamp {
    let recent: Vec<_> = tries.iter().filter(|at| now.since(**at) < DAY && at.since(now) < DAY).collect();
    match recent.len().checked_sub(most) {
        None => now,
        Some(index) => recent[index].plus(DAY).max(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn days(days: u64) -> Duration {
        DAY * u32::try_from(days).expect("a small number")
    }

    #[test]
    fn the_way_follows_from_who_speaks_tls_and_what_the_certificate_rests_on() {
        use Anchor::{Itself, Private, System};
        for (listening, tls, shown, expected) in [
            (false, true, Some((Origin::Acme, System)), Way::PollOnly),
            (true, false, Some((Origin::Own, Itself)), Way::Proxy),
            (true, true, Some((Origin::Acme, System)), Way::Acme),
            (true, true, Some((Origin::Acme, Private)), Way::TrustStore(Private)),
            (true, true, Some((Origin::Files, System)), Way::OwnCertificate),
            (true, true, Some((Origin::Given, Private)), Way::TrustStore(Private)),
            (true, true, Some((Origin::Own, Itself)), Way::TrustStore(Itself)),
        ] {
            assert_eq!(way(listening, tls, shown), expected);
        }
        let own = way(true, true, Some((Origin::Own, Itself)));
        assert!(own.remedy(Some(true), None).is_some_and(|text| text.contains("Cloud cannot be told")));
        assert!(own.remedy(Some(false), None).is_some_and(|text| text.contains(KEYTOOL)));
        for way in [Way::Acme, Way::Proxy, Way::PollOnly] {
            assert_eq!(way.remedy(None, None), None);
        }
    }

    /// Whoever imports the box's certificate trusts it until the next renewal.
    #[test]
    fn of_an_authority_of_ones_own_a_server_is_given_that_ones_certificate() {
        let way = Way::TrustStore(Anchor::Private);
        for (held, words) in [(true, "show --ca-pem > hydrophone.pem"), (false, "from whoever runs that authority")] {
            let authority = Authority { name: "CN=Field Root".to_owned(), held };
            for cloud in [Some(false), None] {
                let text = way.remedy(cloud, Some(&authority)).unwrap();
                assert!(text.contains("certificate, \"CN=Field Root\",") && text.contains(words), "{text}");
                assert!(text.contains(KEYTOOL) && !text.contains("show --pem"), "{text}");
            }
        }
        assert!(Way::TrustStore(Anchor::Itself).remedy(None, None).unwrap().contains("show --pem > "));
    }

    #[test]
    fn an_end_is_told_of_thirty_and_seven_days_before() {
        let begin = NOW.minus(days(300));
        let near = |origin, left: Duration| nearing(origin, begin, NOW.plus(left), NOW);
        for origin in [Origin::Files, Origin::Given, Origin::Own] {
            assert_eq!(near(origin, days(31)), None);
            assert_eq!(near(origin, days(30)), Some(Urgency::Warning));
            assert_eq!(near(origin, days(8)), Some(Urgency::Warning));
            assert_eq!(near(origin, days(7)), Some(Urgency::Error));
            assert_eq!(near(origin, Duration::ZERO), Some(Urgency::Error));
        }
        // Ninety days are renewed with thirty left: that is no news, and what should have happened a week ago is.
        let of_ninety = |left| nearing(Origin::Acme, NOW.minus(days(90 - left)), NOW.plus(days(left)), NOW);
        assert_eq!([of_ninety(30), of_ninety(23)], [None, None]);
        assert_eq!([of_ninety(22), of_ninety(7)], [Some(Urgency::Warning), Some(Urgency::Error)]);
        let code = |end| ending(Origin::Own, begin, end, NOW, String::new()).map(|one| (one.code, one.urgency));
        assert_eq!(code(NOW.minus(DAY)), Some(("certificate_ended", Urgency::Error)));
        assert_eq!(code(NOW.plus(days(20))), Some(("certificate_ends", Urgency::Warning)));
        assert_eq!(code(NOW.plus(days(40))), None);
    }

    #[test]
    fn it_is_fetched_anew_at_two_thirds_of_its_life_or_a_little_before() {
        let end = NOW.plus(days(90));
        assert_eq!(renew_at(NOW, end, 0), NOW.plus(days(60)));
        assert_eq!(renew_at(NOW, end, 255), NOW.plus(days(60)).minus(days(90) / 20));
        assert_eq!(renew_at(NOW, NOW, 255), NOW);
    }

    #[test]
    fn what_fails_is_tried_at_doubling_spans_and_never_more_than_a_few_times_a_day() {
        let mut tries = Tries::default();
        assert_eq!(tries.next(NOW, 0), NOW);
        let (mut now, mut waits) = (NOW, Vec::new());
        for _ in 0..12 {
            tries.begin(now, false);
            tries.fail(now, None);
            let next = tries.next(now, 0);
            waits.push(next.since(now).as_secs() / 60);
            let recent = tries.at.iter().filter(|at| now.since(**at) < DAY).count();
            assert!(recent <= ACME_TRIES_A_DAY, "{recent}");
            now = next;
        }
        assert_eq!(waits[..7], [5, 10, 20, 40, 80, 160, 320]);
        assert!(waits[7..].iter().all(|wait| (640..=1440).contains(wait)), "{waits:?}");
        tries.succeed();
        assert_eq!(tries.next(now.plus(DAY), 0), now.plus(DAY));
    }

    #[test]
    fn a_server_that_wants_to_be_left_alone_is_by_people_too() {
        let mut tries = Tries::default();
        tries.begin(NOW, false);
        tries.fail(NOW, Some(Duration::from_hours(3)));
        assert_eq!(tries.next(NOW, 0), NOW.plus(Duration::from_hours(3)));
        assert_eq!(tries.next_by_hand(NOW), NOW.plus(Duration::from_hours(3)));
        // Nobody is waited for longer than a week, whatever was said.
        tries.fail(NOW, Some(days(3650)));
        assert_eq!(tries.next_by_hand(NOW), NOW.plus(ACME_WAIT_MAX));
    }

    #[test]
    fn people_may_try_more_often_but_not_without_end() {
        let mut tries = Tries::default();
        for _ in 0..ACME_TRIES_BY_HAND_A_DAY {
            assert_eq!(tries.next_by_hand(NOW), NOW);
            tries.begin(NOW, true);
            tries.fail(NOW, None);
        }
        assert_eq!(tries.next_by_hand(NOW), NOW.plus(DAY));
    }

    /// Somebody mends a router, and tries it again and again: the box is not to sit still for a day because of that.
    #[test]
    fn what_people_try_does_not_put_off_what_the_box_tries_by_itself() {
        let mut tries = Tries::default();
        for _ in 0..6 {
            tries.begin(NOW, false);
            tries.fail(NOW, None);
        }
        assert_eq!(tries.next(NOW, 0), NOW.plus(ACME_DELAY_MIN * 32));
        for _ in 0..ACME_TRIES_A_DAY {
            tries.begin(NOW, true);
            tries.fail(NOW, None);
            assert_eq!(tries.next(NOW, 0), NOW.plus(ACME_DELAY_MIN));
        }
        // All of them count for how often people may, and its own for how often it may by itself.
        assert_eq!(tries.next_by_hand(NOW), NOW);
        tries.begin(NOW, false);
        tries.begin(NOW, false);
        assert_eq!(tries.next(NOW, 0), NOW.plus(DAY));
    }

    #[test]
    fn what_a_clock_noted_that_was_years_ahead_keeps_nobody_waiting() {
        let ahead = NOW.plus(days(2000));
        let mut tries = Tries::default();
        for _ in 0..ACME_TRIES_BY_HAND_A_DAY {
            tries.begin(ahead, true);
            tries.fail(ahead, Some(days(1)));
        }
        assert_eq!((tries.next(NOW, 0), tries.next_by_hand(NOW)), (NOW, NOW));
    }
}
