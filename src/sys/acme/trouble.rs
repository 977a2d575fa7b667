//! Why no certificate came, in words: the server's own, and what a person can do.

use std::time::Duration;

use instant_acme::Problem;

/// No certificate came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What the one who asked does next.
    pub kind: Kind,
    /// What happened.
    pub why: String,
    /// What to do.
    pub remedy: String,
    /// For how long the server wants to be left alone.
    pub pause: Option<Duration>,
}

/// What the one who asked does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is tried again, later each time.
    Later,
    /// The server said no; a person has to change something, and it is tried again in case they have.
    Refused,
    /// The server does not know the account: a new one is made.
    NoAccount,
    /// The clock is wrong: nothing is fetched because of it.
    Clock,
    /// The daemon stops, which is nobody's failure.
    Stopped,
}

impl Trouble {
    /// Of a kind.
    pub fn new(kind: Kind, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, why: why.into(), remedy: remedy.into(), pause: None }
    }

    /// Something that may be over later.
    pub fn later(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Kind::Later, why, remedy)
    }

    pub(super) fn after(self, pause: Option<Duration>) -> Self {
        Self { pause: pause.or(self.pause), ..self }
    }
}

/// What a problem document of the server says, and what helps. `about` is the name that it looked at, `reach` what has to
/// be for it to see this box.
pub(super) fn of_problem(host: &str, about: Option<&str>, problem: &Problem, reach: &str) -> Trouble {
    let name = problem.r#type.as_deref().unwrap_or_default().rsplit(':').next().unwrap_or_default();
    let mut detail = plain(problem.detail.as_deref().unwrap_or("it does not say why"));
    for part in problem.subproblems.iter().take(SUBPROBLEMS_MAX) {
        detail.push_str("; ");
        detail.push_str(&plain(&part.to_string()));
    }
    let looked = about.is_some();
    let about = about.map(|about| format!(" {about}")).unwrap_or_default();
    let why = format!("{host} refused{about}: {detail} ({name})");
    let refused = |remedy: &str| Trouble::new(Kind::Refused, why.clone(), remedy);
    match name {
        "accountDoesNotExist" => Trouble::new(Kind::NoAccount, why, "a new account is made by itself"),
        "rateLimited" => Trouble {
            pause: Some(RATE_LIMIT_PAUSE),
            ..Trouble::later(why, "it is tried again by itself, once the server allows it")
        },
        "serverInternal" | "badNonce" | "orderNotReady" => Trouble::later(why, "it is tried again by itself"),
        "unauthorized" if !looked => refused(
            "see whether the account is still good, and id and key of the external one are right: --eab-id ID --eab-key-file FILE",
        ),
        "connection" | "tls" | "unauthorized" | "incorrectResponse" => refused(reach),
        "dns" => refused("let the name's DNS record lead to this box's public address"),
        "caa" => refused("let the CAA record of the name's domain allow this authority"),
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            refused("choose names that this authority takes: hydrophone certificate acme --domain NAME")
        }
        "externalAccountRequired" => refused(
            "get a key id and a key from the authority: hydrophone certificate acme with --eab-id ID --eab-key-file FILE",
        ),
        "userActionRequired" => refused("see what the authority asks of this account, such as to agree to new terms"),
        "invalidContact" | "unsupportedContact" => refused("give a mail address that exists: --contact MAIL"),
        "badSignatureAlgorithm" | "badPublicKey" | "badCSR" => refused("report this: the server takes no key on P-256"),
        _ => refused("hydrophone certificate acme --help"),
    }
}

/// What another machine wrote: one line, and not at any length.
fn plain(text: &str) -> String {
    text.chars().take(400).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Without a time of its own a limit is waited for this long: those of public servers are by the hour.
const RATE_LIMIT_PAUSE: Duration = Duration::from_hours(1);

/// Parts of a problem that a message names.
const SUBPROBLEMS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(name: &str, detail: &str) -> Problem {
        let text = format!(r#"{{"type":"urn:ietf:params:acme:error:{name}","detail":"{detail}","status":403}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_servers_words_are_told_with_what_helps() {
        let told =
            |name| of_problem("ca.example", Some("hooks.example"), &problem(name, "it said so"), "forward port 443");
        let one = told("connection");
        assert_eq!(one.why, "ca.example refused hooks.example: it said so (connection)");
        assert_eq!((one.kind, one.remedy.as_str(), one.pause), (Kind::Refused, "forward port 443", None));
        assert_eq!((told("rateLimited").kind, told("rateLimited").pause), (Kind::Later, Some(RATE_LIMIT_PAUSE)));
        assert_eq!(told("accountDoesNotExist").kind, Kind::NoAccount);
        assert!(told("externalAccountRequired").remedy.contains("--eab-id"));
        let of_account = of_problem("ca.example", None, &problem("unauthorized", "no"), "forward port 443");
        assert!(of_account.remedy.contains("--eab-id") && told("unauthorized").remedy == "forward port 443");
        assert!(told("caa").remedy.contains("CAA"));
        assert_eq!(told("somethingNew").kind, Kind::Refused);
    }

    #[test]
    fn what_a_server_writes_stays_one_line() {
        let told = of_problem("ca.example", None, &problem("malformed", "a\\nb\\u001b[31m"), "");
        assert!(told.why.contains("a b [31m"), "{}", told.why);
    }
}
