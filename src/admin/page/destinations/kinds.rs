//! What is asked of a person to add each kind of destination.

/// How an option is given.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given {
    Text,
    /// One of these words, each with what it is called.
    Words(&'static [(&'static str, &'static str)]),
}

/// An option of a kind's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    /// As the API and `--option` call it.
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) help: &'static str,
    pub(super) given: Given,
}

/// A kind of destination.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) word: &'static str,
    pub(super) name: &'static str,
    /// What it does with findings, in a sentence or two.
    pub(super) about: &'static str,
    /// Label, help and example of its address.
    pub(super) address: (&'static str, &'static str, &'static str),
    /// Label and help of its secret; nothing where it has none.
    pub(super) secret: Option<(&'static str, &'static str)>,
    pub(super) options: &'static [Choice],
    /// An option that may be given for single projects, with its label and an example of a line.
    pub(super) by_project: Option<(&'static str, &'static str, &'static str)>,
    /// Whether assets have places there, whose names may differ.
    pub(super) has_assets: bool,
    /// Whether decisions that are made there can become decisions in Sonar.
    pub(super) to_sonar: bool,
    /// Whether it can be told decisions of Sonar.
    pub(super) from_sonar: bool,
}

impl Kind {
    /// Whether a secret has to be given; that of signed events is made where none is, and not every server of NATS asks for
    /// one.
    pub(super) fn needs_secret(&self) -> bool {
        self.secret.is_some() && !matches!(self.word, "events" | "nats")
    }

    /// The kind of a word.
    pub(super) fn of(word: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.word == word)
    }
}

const YES_NO: Given = Given::Words(&[("", "No"), ("yes", "Yes")]);

const SUPPRESSIONS: Choice = Choice {
    name: "suppressions",
    label: "Findings that somebody decided about",
    help: "What was accepted or called a false positive in Sonar can be left open, or be shown as suppressed.",
    given: Given::Words(&[
        ("", "Shown as suppressed"),
        ("false-positives", "Only false positives shown as suppressed"),
        ("none", "Left open"),
    ]),
};

/// All kinds, those first that most people look for.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        word: "defectdojo",
        name: "DefectDojo",
        about: "One product an asset, one test a branch. Findings are created, updated and closed there, and decisions can \
                go both ways.",
        address: ("Address", "As you open it in the browser.", "https://dojo.example.com"),
        secret: Some((
            "API v2 key",
            "In DefectDojo: your user menu, API v2 Key. Better make a user for this box alone.",
        )),
        options: &[
            Choice {
                name: "product-type",
                label: "Product type for new products",
                help: "Where a product of the asset's name is missing, it is made in this product type.",
                given: Given::Text,
            },
            Choice {
                name: "engagement",
                label: "Engagement",
                help: "Without a name it is SonarQube.",
                given: Given::Text,
            },
            Choice {
                name: "verified",
                label: "Mark all findings as verified",
                help: "Without it only those that are confirmed in Sonar are.",
                given: YES_NO,
            },
        ],
        by_project: None,
        has_assets: true,
        to_sonar: true,
        from_sonar: true,
    },
    Kind {
        word: "conviso",
        name: "Conviso Platform",
        about: "One asset there for each asset here. Findings become vulnerabilities of it, and decisions can go both ways.",
        address: ("Address of the API", "Without one it is Conviso's own.", "https://api.convisoappsec.com/graphql"),
        secret: Some(("API key", "In Conviso: Security Feed, Quick Actions. Better make a user for this box alone.")),
        options: &[
            Choice {
                name: "company",
                label: "Company",
                help: "The number in the address of Conviso's pages, as in /spa/company/123.",
                given: Given::Text,
            },
            Choice {
                name: "business-impact",
                label: "Business impact of assets that are made",
                help: "",
                given: Given::Words(&[
                    ("", "As Conviso gives it"),
                    ("LOW", "Low"),
                    ("MEDIUM", "Medium"),
                    ("HIGH", "High"),
                    ("NOT_DEFINED", "Not defined"),
                ]),
            },
            Choice {
                name: "repository-url",
                label: "Clone address of repositories",
                help: "{organization}, {project} and {name} stand for the project's own.",
                given: Given::Text,
            },
        ],
        by_project: Some((
            "repository-url",
            "Clone addresses of single projects, one a line",
            "web-shop=https://git.example/shop.git",
        )),
        has_assets: true,
        to_sonar: true,
        from_sonar: true,
    },
    Kind {
        word: "events",
        name: "Signed webhook",
        about: "Every change as an event, signed as Standard Webhooks wants it: for a SIEM, a chat, or a program of your own.",
        address: ("Address", "Where events are sent. It has to be https.", "https://siem.example.com/hydrophone"),
        secret: Some((
            "Secret",
            "Begins with whsec_. Without one a secret is made, and shown once for you to give to the receiver.",
        )),
        options: &[
            Choice {
                name: "conditions",
                label: "Tell of this box, too",
                help: "What came up that a person should know, and what is over.",
                given: YES_NO,
            },
            Choice { name: "timeout", label: "Seconds to wait for an answer", help: "", given: Given::Text },
            Choice {
                name: "plain",
                label: "Allow an address without TLS",
                help: "Only where the whole way is yours: findings are readable on it.",
                given: YES_NO,
            },
        ],
        by_project: None,
        has_assets: false,
        to_sonar: false,
        from_sonar: true,
    },
    Kind {
        word: "sarif",
        name: "SARIF folder",
        about: "One SARIF 2.1.0 file a branch in a folder on this box, replaced whenever something in it changes.",
        address: (
            "Folder",
            "Its whole path on this box. The service has to be able to write there.",
            "/var/lib/hydrophone/sarif",
        ),
        secret: None,
        options: &[
            Choice {
                name: "keep",
                label: "Former versions of each file to keep",
                help: "Without a number none is kept.",
                given: Given::Text,
            },
            SUPPRESSIONS,
        ],
        by_project: None,
        has_assets: false,
        to_sonar: false,
        from_sonar: false,
    },
    Kind {
        word: "github",
        name: "GitHub code scanning",
        about: "An analysis of each branch in a repository's code scanning, where developers see findings beside their code.",
        address: ("Address", "Without one it is github.com.", "https://api.github.com"),
        secret: Some(("Token", "With the right to write code scanning alerts (security_events).")),
        options: &[
            Choice {
                name: "repository",
                label: "Repository",
                help: "Owner and name, such as acme/shop: where all projects go that have no repository of their own.",
                given: Given::Text,
            },
            Choice {
                name: "ref",
                label: "Ref",
                help: "{branch} stands for the branch. Without one it is refs/heads/{branch}.",
                given: Given::Text,
            },
            Choice {
                name: "commit",
                label: "Commit",
                help: "",
                given: Given::Words(&[("", "The one that Sonar analysed"), ("head", "The branch's newest")]),
            },
            SUPPRESSIONS,
        ],
        by_project: Some(("repository", "Repositories of single projects, one a line", "web-shop=acme/shop")),
        has_assets: false,
        to_sonar: false,
        from_sonar: false,
    },
    Kind {
        word: "nats",
        name: "NATS JetStream",
        about: "A stream in which many boxes speak: the newest state of each finding, for a view of all sites at once.",
        address: ("Address", "The server of NATS.", "tls://nats.example.com:4222"),
        secret: Some((
            "Credentials",
            "A credentials file's text, a user's seed, NAME:PASSWORD or a token. Leave it empty where the server asks for none.",
        )),
        options: &[
            Choice {
                name: "site",
                label: "Site",
                help: "What this box's place is called: letters, digits, - and _.",
                given: Given::Text,
            },
            Choice { name: "stream", label: "Stream", help: "Without a name it is HYDROPHONE.", given: Given::Text },
            Choice {
                name: "plain",
                label: "Allow a way without TLS",
                help: "Only where the whole way is yours: findings are readable on it.",
                given: YES_NO,
            },
        ],
        by_project: None,
        has_assets: false,
        to_sonar: false,
        from_sonar: false,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::destination::PlatformKind;

    #[test]
    fn every_kind_has_a_form() {
        let kinds: Vec<_> = PlatformKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let forms: Vec<_> = KINDS.iter().map(|kind| kind.word).collect();
        assert_eq!(forms, kinds);
    }
}
