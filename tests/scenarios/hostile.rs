//! What comes from outside is text on every page, whatever it looks like: no name, message, branch, path or rule becomes
//! an element, an attribute or an address of ours.
//!
//! The pages are taken apart as a browser takes them apart. What is looked for is not what an attack looks like, but
//! anything that our own templates do not write.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use crate::page_findings::Reader;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Issue, Mode, Sonar};
use crate::support::{connect, hook_up};

/// Ends whatever it stands in, and begins what would be noticed.
const HOSTILE: &str = "zqx\"'--></title></textarea></script><script>zqx()</script><zqx zqx=1><img src=x onerror=zqx() \
                       style=\"color:red\"><a href=\"javascript:zqx()\">x</a><iframe srcdoc=zqx></iframe>{{zqx}}${zqx}&zqx;";

/// Elements that our templates write, and those that are left of a rule's text.
const ELEMENTS: &str = "a article aside b blockquote body br button caption circle code dd details dialog div dl dt em fieldset \
                        figcaption figure footer form h1 h2 h3 h4 head header hr html i input kbd label legend li line \
                        link main meta nav ol optgroup option p path polyline pre progress q rect script section select \
                        span strong summary svg table tbody td template textarea th thead time title tr ul datalist";

/// Attributes that hold addresses.
const ADDRESSES: [&str; 6] = ["href", "src", "action", "formaction", "srcdoc", "data"];

#[derive(Default)]
struct Seen(RefCell<Vec<Tag>>);

impl TokenSink for Seen {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        if let Token::TagToken(tag) = token
            && tag.kind == TagKind::StartTag
        {
            self.0.borrow_mut().push(tag);
        }
        TokenSinkResult::Continue
    }
}

fn elements(page: &str) -> Vec<Tag> {
    let tokenizer = Tokenizer::new(Seen::default(), TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(page));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.0.take()
}

/// What is on a page that no template of ours writes.
fn foreign(page: &str) -> Vec<String> {
    let known: BTreeSet<&str> = ELEMENTS.split_whitespace().collect();
    let mut found = Vec::new();
    for tag in elements(page) {
        let name = tag.name.to_string();
        if !known.contains(name.as_str()) {
            found.push(format!("<{name}>"));
        }
        if name == "script" && !tag.attrs.iter().any(|one| &*one.name.local == "src") {
            found.push("<script> with a text".to_owned());
        }
        for attribute in &tag.attrs {
            let (of, value) = (attribute.name.local.to_string(), attribute.value.to_string());
            let is_ours = of.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == ':');
            if !is_ours || of.starts_with("on") || of == "style" || of.contains("zqx") {
                found.push(format!("<{name} {of}>"));
            }
            let leads = ["/", "#", "?", "https://", "http://"].iter().any(|start| value.starts_with(start));
            if ADDRESSES.contains(&of.as_str()) && !leads && !(of == "href" && value.is_empty()) {
                found.push(format!("<{name} {of}=\"{value}\">"));
            }
        }
    }
    found
}

/// A SonarQube in which everything that can bear a name bears that one.
fn sonar() -> Sonar {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", HOSTILE);
        model.add_branch("shop", HOSTILE);
        let rule = model.rules.get_mut("java:S3649").expect("it is known");
        HOSTILE.clone_into(&mut rule.name);
        for (branch, key) in [("main", "A"), (HOSTILE, "B")] {
            let mut issue = Issue::vulnerability("java:S3649", &format!("src/{HOSTILE}/a.java"), 3).with_key(key);
            HOSTILE.clone_into(&mut issue.message);
            HOSTILE.clone_into(&mut issue.author);
            issue.assignee = Some(HOSTILE.to_owned());
            issue.tags = vec![HOSTILE.to_owned()];
            model.add_issue("shop", branch, issue);
        }
    });
    sonar
}

#[test]
fn nothing_from_outside_becomes_markup_on_any_page() {
    let sonar = sonar();
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    connect(&gateway, &sonar);
    gateway.json(&["asset", "add", &HOSTILE[..60]]);
    gateway.json(&["project", "import", "acme", "--project", "shop", "--branch", "*", "--wait"]);
    hook_up(&gateway, &sonar, "acme");
    sonar.analyse("shop", HOSTILE, |_| {});
    let reader = Reader::new(gateway, "admin");
    let asked = crate::page_findings::encoded(HOSTILE);
    let mut waiting: BTreeSet<String> = ["/", "/users", "/audit", "/about", "/sign-in", "/setup", "/nowhere"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("/findings?search={asked}&branch={asked}"), format!("/findings?severity={asked}")])
        .collect();
    let mut pages = BTreeMap::new();
    while let Some(path) = waiting.pop_first() {
        let answer = reader.get(&path);
        let is_page = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if !is_page {
            pages.insert(path, String::new());
            continue;
        }
        assert_eq!(foreign(&answer.body), [""; 0], "on {path}:\n{}", answer.body);
        for tag in elements(&answer.body).iter().filter(|tag| &*tag.name == "a") {
            let href = tag.attrs.iter().find(|one| &*one.name.local == "href").map(|one| one.value.to_string());
            let href = href.and_then(|href| Some(href.split('#').next()?.to_owned()));
            let is_ours = |href: &String| href.starts_with('/') && !href.starts_with("/api/") && !href.is_empty();
            waiting.extend(href.filter(is_ours).filter(|href| !pages.contains_key(href) && *href != path));
        }
        pages.insert(path, answer.body);
        assert!(pages.len() < 300, "{:?}", pages.keys());
    }
    // It was there: otherwise all this says nothing.
    for path in ["/", "/findings", "/projects", "/assets", "/deliveries"] {
        let page = pages.get(path).unwrap_or_else(|| panic!("{path} is among {:?}", pages.keys()));
        assert!(path == "/" || page.contains("zqx"), "{path} shows nothing of it:\n{page}");
    }
    let finding = pages.iter().find(|(path, _)| path.starts_with("/findings/")).expect("a finding is linked").1;
    assert!(finding.matches("zqx").count() > 10, "{finding}");
}

#[test]
fn what_is_looked_for_would_be_found() {
    assert_eq!(foreign("<p class=\"x\"><a href=\"/x\">x</a>&lt;img onerror=x&gt;</p>"), [""; 0]);
    for bad in [
        "<img src=x>",
        "<p onclick=x>",
        "<p style=x>",
        "<script>x</script>",
        "<a href=\"javascript:x\">",
        "<a href=\" javascript:x\">",
        "<p zqx=1>",
        "<object data=x>",
    ] {
        assert!(!foreign(bad).is_empty(), "{bad}");
    }
}
