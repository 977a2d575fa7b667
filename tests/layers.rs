//! Holds the source to its layers: dependencies point one way, libraries stay where they belong, and what decides does
//! nothing else. Reads the files of `src/` as text; needs nothing of the crate, so it also judges one that does not
//! compile.
//!
//! Code for tests (`#[cfg(test)]`) may use clocks, threads, files and every library, but not other layers.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

/// Which layers a layer may name. Itself is understood, `main.rs` and `lib.rs` are layers of their own.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["cli", "daemon", "sys"]),
    ("lib", &[]),
    // Built for fuzzing and tests alone: a door into each layer.
    ("fuzz", &["cli", "admin", "store", "sonar", "platform", "sys", "domain"]),
    // Of the API, the command line knows the shapes, and what a platform takes of a file: see `EXCEPTIONS`.
    ("cli", &["daemon", "sys", "domain"]),
    ("daemon", &["ingress", "work", "admin", "store", "sonar", "platform", "sys", "domain"]),
    // The API also rings the workers, tells the listener which endpoints there are, and takes connections as it does.
    ("admin", &["ingress", "work", "store", "sonar", "platform", "sys", "domain"]),
    ("work", &["store", "sonar", "platform", "sys", "domain"]),
    ("ingress", &["store", "sys", "domain"]),
    // These three do not know each other.
    ("store", &["sys", "domain"]),
    ("sonar", &["sys", "domain"]),
    ("platform", &["sys", "domain"]),
    ("sys", &["domain"]),
    ("domain", &[]),
];

/// Modules that a layer may name although their layer is not for it.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("cli", "admin::shapes"),
    // `export` says where a file is more than GitHub takes.
    ("cli", "platform::sarif"),
];

/// Where a library may be used: `(libraries, paths, why)`. A path that ends in `/` is a folder.
const LIBRARIES: &[(&[&str], &[&str], &str)] = &[
    (&["redb"], &["store/"], "only the store knows redb"),
    (
        &["ureq"],
        &["sonar/", "platform/", "sys/acme/", "sys/trust.rs", "sys/reach.rs"],
        "only sonar/, platform/ and sys/acme/ speak ureq, over sys/",
    ),
    (
        &["tokio", "tokio_rustls", "hyper_util", "axum"],
        &[
            "ingress/",
            "admin/",
            "sys/acme/",
            "platform/nats/",
            "cli/client.rs",
            "cli/wait.rs",
            "daemon.rs",
            "daemon/",
            "main.rs",
        ],
        "async stays in ingress/, admin/, sys/acme/ and platform/nats/, and where they are started and asked",
    ),
    (&["async_nats", "nkeys"], &["platform/nats/"], "only the destination of a fleet speaks NATS"),
    (
        &["hyper"],
        &["ingress/", "admin/", "sys/acme/", "cli/", "daemon.rs", "daemon/"],
        "HTTP is served and asked at the border",
    ),
];

/// Files that only decide or translate, beside all of `domain/`.
const PURE: &[&str] = &[
    "sonar/wire.rs",
    "sonar/wire/findings.rs",
    "sonar/wire/lenient.rs",
    "sonar/wire/webhooks.rs",
    "sonar/dialect.rs",
    "store/codec.rs",
    "store/tables.rs",
    "store/records.rs",
    "admin/shapes.rs",
    "platform/conviso/documents.rs",
    "platform/conviso/schema.rs",
    "platform/conviso/status.rs",
    "platform/conviso/wire.rs",
    "admin/shapes/certificate.rs",
    "admin/shapes/destinations.rs",
    "admin/shapes/doctor.rs",
    "admin/shapes/findings.rs",
    "admin/shapes/imports.rs",
    "admin/shapes/webhooks.rs",
    "platform/sarif.rs",
    "platform/sarif/result.rs",
    "platform/sarif/rules.rs",
];

/// What a pure file may name of a library that is otherwise closed to it: the types that describe a table.
const PURE_EXCEPTIONS: &[(&str, &str)] = &[("store/tables.rs", "redb::TableDefinition")];

/// Paths that no pure file names, with everything below them.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    // A pure file that locks has another thread in mind.
    "std::sync::mpsc",
    "std::sync::Barrier",
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::time::UNIX_EPOCH",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "ring::rand",
    "async_nats",
    "axum",
    "hyper",
    "hyper_util",
    "indicatif",
    "listenfd",
    "redb",
    "rustix",
    "rustls_native_certs",
    "sd_notify",
    "tempfile",
    "tokio",
    "tokio_rustls",
    "tracing",
    "tracing_subscriber",
    "ureq",
];

/// Calls of the clock by the name of their type alone, however it came into the file.
const CLOCKS: &[&str] = &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now", "Local::now"];

/// Macros that write to the terminal.
const PRINTING: &[&str] = &["println", "eprintln", "print", "eprint", "dbg"];

#[test]
fn the_source_keeps_to_its_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = BTreeMap::new();
    collect(&root, &root, &mut sources);
    assert!(sources.contains_key("domain/mod.rs"), "no source in {}", root.display());
    for pure in PURE {
        assert!(
            sources.contains_key(*pure),
            "{pure} is held to purity by name; it moved: say where to in tests/layers.rs"
        );
    }

    let found: Vec<String> = violations(&sources).iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} violations of the layers:\n{}", found.len(), found.join("\n"));
}

fn collect(root: &Path, folder: &Path, sources: &mut BTreeMap<String, String>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            sources.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

/// Something in a file that its layer does not allow.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    what: String,
    why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: `{}`: {}", self.file, self.line, self.what, self.why)
    }
}

/// Judges all files together, since a file can be code for tests by what its parent says of it.
fn violations(sources: &BTreeMap<String, String>) -> Vec<Violation> {
    let read: BTreeMap<&str, Source> =
        sources.iter().map(|(file, text)| (file.as_str(), Source::read(file, text))).collect();
    let for_tests: BTreeSet<&str> = read.values().flat_map(|source| &source.test_files).map(String::as_str).collect();
    let mut all = Vec::new();
    for (file, source) in &read {
        judge(file, source, for_tests.contains(file), &mut all);
    }
    all
}

fn judge(file: &str, source: &Source, for_tests: bool, all: &mut Vec<Violation>) {
    let layer = layer_of(file);
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        let why = "no such layer; if it is meant, give it a place in tests/layers.rs";
        all.push(Violation { file: file.to_owned(), line: 1, what: layer.to_owned(), why: why.to_owned() });
        return;
    };
    let pure = layer == "domain" || PURE.contains(&file);
    for named in &source.names {
        let mut violation = |why: String| {
            let (file, what) = (file.to_owned(), named.path.clone());
            let violation = Violation { file, line: named.line, what, why };
            // An import and its use in one line are one offence.
            if !all.contains(&violation) {
                all.push(violation);
            }
        };
        if let Some(inside) = named.path.strip_prefix("crate::").or_else(|| named.path.strip_prefix("hydrophone::")) {
            let target = inside.split("::").next().unwrap_or_default();
            let known = LAYERS.iter().any(|(name, _)| *name == target);
            let excepted = EXCEPTIONS.iter().any(|(from, to)| *from == layer && below(inside, to));
            if known && target != layer && !allowed.contains(&target) && !excepted {
                violation(format!("{layer} does not know {target}"));
            } else if pure && !(named.for_tests || for_tests) {
                judge_own(layer, inside, target, &mut violation);
            }
        }
        if named.for_tests || for_tests {
            continue;
        }
        for (libraries, places, why) in LIBRARIES {
            let used = libraries.iter().any(|library| below(&named.path, library));
            if used && !places.iter().any(|place| file == *place || (place.ends_with('/') && file.starts_with(place))) {
                violation((*why).to_owned());
            }
        }
        if pure {
            let excepted = PURE_EXCEPTIONS.iter().any(|(of, path)| *of == file && below(&named.path, path));
            let impure = IMPURE.iter().any(|path| below(&named.path, path)) && !excepted;
            let asks_clock =
                CLOCKS.iter().any(|call| named.path == *call || named.path.ends_with(&format!("::{call}")));
            let call = named.path.strip_suffix('!').and_then(|path| path.rsplit("::").next());
            let prints = call.is_some_and(|name| PRINTING.contains(&name));
            if impure || asks_clock || prints {
                violation("a pure file knows no IO, clock, thread or tokio; take the value as an argument".to_owned());
            }
        }
    }
}

/// A pure file outside `domain/` may lean on other pure files of its layer and on the layer's types.
fn judge_own(layer: &str, inside: &str, target: &str, violation: &mut impl FnMut(String)) {
    if target == "sys" {
        violation("a pure file knows no system".to_owned());
    }
    let part = inside.split("::").nth(1).unwrap_or_default();
    let is_module = part.starts_with(|first: char| first.is_ascii_lowercase());
    // In a folder of files the one that is named has to be pure; that the folder is named alone, as `pub(super)` does,
    // leans on nothing.
    let inner = inside.split("::").nth(2);
    let folder = format!("{layer}/{part}/");
    let is_folder =
        PURE.iter().any(|pure| pure.starts_with(&folder) && !PURE.contains(&format!("{layer}/{part}.rs").as_str()));
    let is_pure = match inner {
        _ if !is_folder => PURE.contains(&format!("{layer}/{part}.rs").as_str()),
        None => true,
        Some(inner) => PURE.contains(&format!("{folder}{inner}.rs").as_str()),
    };
    if target == layer && layer != "domain" && is_module && !is_pure {
        violation(format!("a pure file leans on pure files only, and {layer}/{part} is none"));
    }
}

/// `store/mod.rs` and `store/tables.rs` are of `store`; `daemon.rs` is of `daemon`.
fn layer_of(file: &str) -> &str {
    file.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// Whether a path is another one or lies below it.
fn below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A path that a file names, made absolute where the file's own imports tell how.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    path: String,
    line: usize,
    for_tests: bool,
}

/// What a file names.
struct Source {
    names: Vec<Named>,
    /// Files that it declares as modules for tests only.
    test_files: Vec<String>,
}

impl Source {
    fn read(file: &str, text: &str) -> Self {
        let tokens = tokens(text);
        let for_tests = marks_of_test_code(&tokens);
        let mut reader = Reader {
            tokens: &tokens,
            for_tests: &for_tests,
            modules: module_of(file),
            own: module_of(file).len(),
            opened: Vec::new(),
            depth: 0,
            imports: BTreeMap::new(),
            names: Vec::new(),
            test_files: Vec::new(),
        };
        // Imports count for the lines above them too, so they are gathered first.
        reader.walk();
        reader.names.clear();
        reader.test_files.clear();
        reader.walk();
        let Reader { names, test_files, .. } = reader;
        Self { names, test_files }
    }
}

/// The module that a file holds, as path segments after `crate`.
fn module_of(file: &str) -> Vec<String> {
    let mut segments: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if segments.last().is_some_and(|last| last == "mod") || file == "lib.rs" || file == "main.rs" {
        segments.pop();
    }
    segments
}

struct Reader<'t> {
    tokens: &'t [Token],
    for_tests: &'t [bool],
    /// Where in the module tree the reader stands; the first `own` segments are the file's.
    modules: Vec<String>,
    own: usize,
    /// The depths of braces at which the inline modules among `modules` began.
    opened: Vec<usize>,
    depth: usize,
    /// By module and name, since `super::*` in tests would otherwise be needed to tell two imports apart.
    imports: BTreeMap<(Vec<String>, String), String>,
    names: Vec<Named>,
    test_files: Vec<String>,
}

impl Reader<'_> {
    fn walk(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            match self.text(at) {
                "mod" if self.is_word(at + 1) => at = self.module(at),
                "use" => at = self.import(at + 1),
                "{" => {
                    self.depth += 1;
                    at += 1;
                }
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.opened.last() == Some(&self.depth) {
                        self.opened.pop();
                        self.modules.pop();
                    }
                    at += 1;
                }
                _ if self.is_word(at) => at = self.path(at),
                _ => at += 1,
            }
        }
    }

    fn module(&mut self, at: usize) -> usize {
        let name = self.text(at + 1).to_owned();
        match self.text(at + 2) {
            "{" => {
                self.opened.push(self.depth);
                self.modules.push(name);
                self.depth += 1;
            }
            ";" if self.for_tests[at] => {
                let folder: Vec<&str> = self.modules.iter().map(String::as_str).chain([name.as_str()]).collect();
                let folder = folder.join("/");
                self.test_files.extend([format!("{folder}.rs"), format!("{folder}/mod.rs")]);
            }
            _ => {}
        }
        at + 3
    }

    /// Reads a `use` up to its semicolon and remembers what it names.
    fn import(&mut self, from: usize) -> usize {
        let mut end = from;
        while end < self.tokens.len() && self.text(end) != ";" {
            end += 1;
        }
        let mut at = from;
        self.tree(&mut at, end, &mut Vec::new());
        end + 1
    }

    /// One branch of a use tree: `a::b`, `a::{b, c as d}`, `a::*`.
    fn tree(&mut self, at: &mut usize, end: usize, prefix: &mut Vec<String>) {
        let before = prefix.len();
        let line = self.tokens.get(*at).map_or(0, |token| token.line);
        while *at < end {
            match self.text(*at) {
                "{" => {
                    *at += 1;
                    while *at < end && self.text(*at) != "}" {
                        self.tree(at, end, prefix);
                        if self.text(*at) == "," {
                            *at += 1;
                        }
                    }
                    *at += 1;
                    prefix.truncate(before);
                    return;
                }
                "," | "}" => break,
                "::" => *at += 1,
                "as" => {
                    let alias = self.text(*at + 1).to_owned();
                    *at += 2;
                    self.imported(prefix, &alias, line);
                    prefix.truncate(before);
                    return;
                }
                word => {
                    prefix.push(word.to_owned());
                    *at += 1;
                }
            }
        }
        if prefix.last().is_some_and(|last| last == "self" && prefix.len() > 1) {
            prefix.pop();
        }
        if let Some(name) = prefix.last().cloned() {
            self.imported(prefix, &name, line);
        }
        prefix.truncate(before.min(prefix.len()));
    }

    fn imported(&mut self, path: &[String], name: &str, line: usize) {
        let mut path = path.to_vec();
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let full = self.absolute(&path);
        let for_tests = self.line_is_for_tests(line);
        self.names.push(Named { path: full.clone(), line, for_tests });
        // An import that names itself (`use redb;`) would lead in a circle.
        if full != name {
            self.imports.insert((self.modules.clone(), name.to_owned()), full);
        }
    }

    fn line_is_for_tests(&self, line: usize) -> bool {
        self.tokens.iter().position(|token| token.line == line).is_some_and(|at| self.for_tests[at])
    }

    /// Reads `a::b::c`, or `a!`.
    fn path(&mut self, from: usize) -> usize {
        let mut segments = vec![self.text(from).to_owned()];
        let mut at = from + 1;
        while self.text(at) == "::" && self.is_word(at + 1) {
            segments.push(self.text(at + 1).to_owned());
            at += 2;
        }
        // A field or a method is no path: `self.tokio`. After a range one follows: `0..tokio::LIMIT`.
        let after_dots = self.tokens[..from].iter().rev().take_while(|token| token.text == ".").count();
        let is_member = after_dots == 1;
        let (line, for_tests) = (self.tokens[from].line, self.for_tests[from]);
        if !is_member {
            let mut path = self.absolute(&segments);
            if self.text(at) == "!" && self.text(at + 1) != "=" {
                self.names.push(Named { path: format!("{}!", segments.join("::")), line, for_tests });
            }
            if segments.len() == 1 && path == segments[0] {
                // A lone word is a local name: a field, a variable, a keyword.
                path.clear();
            }
            if !path.is_empty() {
                self.names.push(Named { path, line, for_tests });
            }
        }
        at
    }

    /// Follows `self`, `super` and the imports of the module that the reader is in.
    fn absolute(&self, segments: &[String]) -> String {
        let mut module = self.modules.clone();
        let mut rest = segments;
        match segments.first().map(String::as_str) {
            Some("self") if segments.len() > 1 => rest = &rest[1..],
            Some("super") => {
                while rest.first().is_some_and(|first| first == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            Some(first) => {
                // Tests see their parents' imports by `use super::*`.
                let mut scope = self.modules.clone();
                loop {
                    if let Some(full) = self.imports.get(&(scope.clone(), first.to_owned())) {
                        let tail = segments[1..].iter().map(|segment| format!("::{segment}"));
                        return std::iter::once(full.clone()).chain(tail).collect();
                    }
                    if scope.len() <= self.own {
                        break;
                    }
                    scope.pop();
                }
                return segments.join("::");
            }
            None => return String::new(),
        }
        let segments: Vec<&str> = ["crate"]
            .into_iter()
            .chain(module.iter().map(String::as_str))
            .chain(rest.iter().map(String::as_str))
            .collect();
        segments.join("::")
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    fn is_word(&self, at: usize) -> bool {
        self.text(at).starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// A word, or one sign; `::` is one sign.
#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// Splits Rust into tokens and leaves out comments, literals and lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let signs: Vec<char> = text.chars().collect();
    let sign = |at: usize| signs.get(at).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < signs.len() {
        let from = at;
        match sign(at) {
            '/' if sign(at + 1) == '/' => {
                while at < signs.len() && sign(at) != '\n' {
                    at += 1;
                }
            }
            '/' if sign(at + 1) == '*' => at = after_block_comment(&signs, at),
            '"' => at = after_string(&signs, at),
            '\'' => at = after_quote(&signs, at),
            first if first.is_alphabetic() || first == '_' => {
                while sign(at).is_alphanumeric() || sign(at) == '_' {
                    at += 1;
                }
                let word: String = signs[from..at].iter().collect();
                let hashes = signs[at..].iter().take_while(|sign| **sign == '#').count();
                match word.as_str() {
                    "r" | "br" | "cr" if sign(at + hashes) == '"' => at = after_raw_string(&signs, at, hashes),
                    // A raw identifier: `r#type`.
                    "r" if hashes == 1 => at += 1,
                    "b" | "c" if sign(at) == '"' => at = after_string(&signs, at),
                    "b" if sign(at) == '\'' => at = after_quote(&signs, at),
                    _ => tokens.push(Token { text: word, line }),
                }
            }
            digit if digit.is_ascii_digit() => {
                while sign(at).is_alphanumeric() || sign(at) == '_' {
                    at += 1;
                }
            }
            ':' if sign(at + 1) == ':' => {
                tokens.push(Token { text: "::".to_owned(), line });
                at += 2;
            }
            space if space.is_whitespace() => at += 1,
            other => {
                tokens.push(Token { text: other.to_string(), line });
                at += 1;
            }
        }
        line += signs[from..at.min(signs.len())].iter().filter(|sign| **sign == '\n').count();
    }
    tokens
}

fn after_block_comment(signs: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while at < signs.len() {
        match (signs[at], signs.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn after_string(signs: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < signs.len() && signs[at] != '"' {
        at += if signs[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn after_raw_string(signs: &[char], from: usize, hashes: usize) -> usize {
    let mut at = from + hashes + 1;
    while at < signs.len() {
        if signs[at] == '"' && signs[at + 1..].iter().take(hashes).filter(|sign| **sign == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// `'x'` and `'\n'` are literals, `'a` is a lifetime.
fn after_quote(signs: &[char], from: usize) -> usize {
    if signs.get(from + 1) == Some(&'\\') {
        let mut at = from + 3;
        while at < signs.len() && signs[at] != '\'' {
            at += 1;
        }
        at + 1
    } else if signs.get(from + 2) == Some(&'\'') {
        from + 3
    } else {
        let word = signs[from + 1..].iter().take_while(|sign| sign.is_alphanumeric() || **sign == '_').count();
        from + 1 + word
    }
}

/// Tells of each token whether it belongs to an item under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn marks_of_test_code(tokens: &[Token]) -> Vec<bool> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut marks = vec![false; tokens.len()];
    for at in 0..tokens.len() {
        let begins = |words: &[&str]| words.iter().enumerate().all(|(offset, word)| text(at + offset) == *word);
        if begins(&["#", "[", "cfg", "(", "test", ")"]) || begins(&["#", "[", "cfg", "(", "all", "(", "test", ","]) {
            let end = after_item(tokens, at).min(tokens.len());
            marks[at..end].fill(true);
        }
    }
    marks
}

/// Finds the end of the item whose attributes begin at `from`: its semicolon, or its closing brace.
fn after_item(tokens: &[Token], from: usize) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut at = from;
    let (mut depth, mut is_statement) = (0_usize, false);
    while at < tokens.len() {
        match text(at) {
            "use" | "=" if depth == 0 => is_statement = true,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                // The braces around the item itself: it was the last field or variant.
                let Some(outer) = depth.checked_sub(1) else { return at };
                depth = outer;
                if depth == 0 && text(at) == "}" && !is_statement {
                    return at + 1;
                }
            }
            ";" | "," if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// What is wrong with one file, as `line: path`.
fn found_in(file: &str, text: &str) -> Vec<String> {
    let sources = BTreeMap::from([(file.to_owned(), text.to_owned())]);
    violations(&sources).into_iter().map(|violation| format!("{}: {}", violation.line, violation.what)).collect()
}

#[test]
fn a_pure_file_that_reaches_outside_is_caught() {
    let cases = [
        ("use std::fs;", "1: std::fs"),
        ("use std::{fmt, net::TcpStream};", "1: std::net::TcpStream"),
        ("fn f() { std::process::exit(1) }", "1: std::process::exit"),
        ("fn f() {\n  std::env::var(\"A\");\n}", "2: std::env::var"),
        ("fn f() { std::thread::sleep(d) }", "1: std::thread::sleep"),
        ("fn f() { let now = Instant::now(); }", "1: Instant::now"),
        ("use std::time::SystemTime;\nfn f() { SystemTime::now() }", "2: std::time::SystemTime::now"),
        ("use std::time::Instant as When;\nfn f() { When::now() }", "2: std::time::Instant::now"),
        ("use std::time;\nfn f() { time::Instant::now() }", "2: std::time::Instant::now"),
        ("fn f() { When::now() }\nuse std::time::Instant as When;", "1: std::time::Instant::now"),
        ("fn f() { jiff::Timestamp::now(); }", "1: jiff::Timestamp::now"),
        ("fn f() { Zoned::now(); }", "1: Zoned::now"),
        ("fn f() { tokio::spawn(x); }", "1: tokio::spawn"),
        ("fn f() { println!(\"x\"); }", "1: println!"),
        ("fn f() { std::eprintln!(\"x\"); }", "1: std::eprintln!"),
        ("fn f() { for _ in 0..::std::process::id() {} }", "1: std::process::id"),
        ("use tracing::info;", "1: tracing::info"),
        ("use std::io::{self, Read};\nfn f() { io::stdin() }", "2: std::io::stdin"),
        ("use std::sync::Mutex;", "1: std::sync::Mutex"),
    ];
    for (text, expected) in cases {
        for file in ["domain/finding.rs", "domain/deep/er.rs", "sonar/wire.rs", "store/records.rs", "admin/shapes.rs"] {
            let found = found_in(file, text);
            assert!(found.contains(&expected.to_owned()), "{file}: {text}\nfound {found:?}");
        }
    }
}

#[test]
fn what_is_pure_is_let_through() {
    let text = r##"
        //! use std::fs; Instant::now()
        /* tokio::spawn /* std::net */ redb::Table */
        use std::time::{Duration, Instant, SystemTime};
        use std::{fmt, io};
        use super::ids::IssueKey;
        use crate::domain::time::Timestamp;
        const TEXT: &str = "std::fs::read \" println!()";
        const RAW: &str = r#"Instant::now() " tokio::spawn"#;
        const BYTES: &[u8] = b"std::env::var";
        const QUOTE: char = '"'; const ESCAPED: char = '\''; const END: u8 = b'"';
        fn after<'a>(now: SystemTime, tokio: &'a str) -> &'a str { self.redb.ureq(tokio) }
        fn r#type(clock: Clock) -> bool { clock.now != io::Error::other("x") }
        impl Now { fn now() -> Self { Self::now() } }
    "##;
    assert_eq!(found_in("domain/finding.rs", text), Vec::<String>::new());
}

#[test]
fn a_layer_that_knows_the_wrong_one_is_caught() {
    let cases = [
        ("domain/finding.rs", "use crate::store::Store;", "1: crate::store::Store"),
        ("domain/finding.rs", "use super::super::sys::clock;", "1: crate::sys::clock"),
        ("domain/mod.rs", "use super::sonar;", "1: crate::sonar"),
        ("store/mod.rs", "use crate::{domain::ids::ScopeId, sonar::wire};", "1: crate::sonar::wire"),
        ("sonar/client.rs", "fn f() { crate::store::Store::open() }", "1: crate::store::Store::open"),
        ("sonar/client.rs", "mod deep { use super::super::super::store::Store; }", "1: crate::store::Store"),
        ("platform/webhook.rs", "use crate::store::Store;", "1: crate::store::Store"),
        ("sys/tls.rs", "use crate::store::Store;", "1: crate::store::Store"),
        ("ingress/mod.rs", "use crate::admin::Admin;", "1: crate::admin::Admin"),
        ("work/sync.rs", "use crate::ingress::Ingress;", "1: crate::ingress::Ingress"),
        ("admin/mod.rs", "use crate::cli::Cli;", "1: crate::cli::Cli"),
        ("daemon.rs", "use crate::cli::Cli;", "1: crate::cli::Cli"),
        ("cli/finding.rs", "use crate::store::Store;", "1: crate::store::Store"),
        ("cli/finding.rs", "use crate::admin::{shapes, views};", "1: crate::admin::views"),
        ("cli/finding.rs", "use crate::admin as other;\nfn f() { other::shapes::x() }", "1: crate::admin"),
        ("main.rs", "use hydrophone::store::Store;", "1: hydrophone::store::Store"),
        ("extra/mod.rs", "", "1: extra"),
        // Code for tests keeps to the layers too.
        ("domain/finding.rs", "#[cfg(test)]\nmod tests {\n use crate::store::Store;\n}", "3: crate::store::Store"),
    ];
    for (file, text, expected) in cases {
        assert_eq!(found_in(file, text), [expected], "{file}: {text}");
    }
}

#[test]
fn a_layer_that_knows_those_below_is_let_through() {
    let cases = [
        ("main.rs", "use hydrophone::cli::{self, Cli}; use hydrophone::daemon;"),
        ("lib.rs", "pub mod admin; pub mod domain;"),
        (
            "cli/finding.rs",
            "use crate::admin::shapes::{self, Finding}; use super::client::Client; use crate::cli::table;",
        ),
        ("daemon.rs", "use crate::{admin, ingress, store, sonar, sys, work, domain};"),
        ("admin/mod.rs", "use crate::work::Work; use crate::ingress::Directory; use crate::sonar::wire;"),
        ("work/mod.rs", "use crate::store; use crate::sonar; use crate::sys::clock;"),
        ("store/codec.rs", "use super::StoreError; use super::records::Row; use crate::domain::ids::ScopeId;"),
    ];
    for (file, text) in cases {
        assert_eq!(found_in(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}

#[test]
fn a_pure_file_that_leans_on_the_rest_of_its_layer_is_caught() {
    assert_eq!(found_in("store/codec.rs", "use super::writer::Batch;"), ["1: crate::store::writer::Batch"]);
    assert_eq!(found_in("sonar/wire.rs", "use super::client;"), ["1: crate::sonar::client"]);
    assert_eq!(found_in("sonar/wire.rs", "use crate::sys::clock;"), ["1: crate::sys::clock"]);
    assert_eq!(found_in("store/writer.rs", "use super::findings; use crate::sys::clock;"), Vec::<String>::new());
}

#[test]
fn a_library_outside_its_place_is_caught() {
    let cases = [
        ("work/sync.rs", "use redb::Table;", "1: redb::Table"),
        ("sys/tls.rs", "fn f(e: ureq::Error) {}", "1: ureq::Error"),
        ("work/sync.rs", "use tokio::sync::watch;", "1: tokio::sync::watch"),
        ("cli/finding.rs", "use tokio::time;", "1: tokio::time"),
        ("store/mod.rs", "use axum::Json;", "1: axum::Json"),
        ("sonar/client.rs", "use hyper::Uri;", "1: hyper::Uri"),
        ("store/codec.rs", "use redb::Table;", "1: redb::Table"),
        ("store/tables.rs", "use redb::{Database, TableDefinition};", "1: redb::Database"),
    ];
    for (file, text, expected) in cases {
        assert_eq!(found_in(file, text), [expected], "{file}: {text}");
    }
    let good = [
        ("store/tables.rs", "use redb::TableDefinition;"),
        ("store/writer.rs", "use redb::Database; use std::time::Instant; fn f() { Instant::now() }"),
        ("sys/trust.rs", "use ureq::Agent;"),
        ("sonar/client.rs", "use ureq::Agent;"),
        ("cli/client.rs", "use tokio::net::UnixStream; use hyper::Request;"),
        ("daemon.rs", "use tokio::runtime::Runtime;"),
        ("admin/mod.rs", "use tokio::net::UnixListener; use axum::Router;"),
    ];
    for (file, text) in good {
        assert_eq!(found_in(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}

#[test]
fn code_for_tests_may_use_clocks_threads_and_files() {
    let good = [
        "#[cfg(test)]\nmod tests { use std::thread; use tokio::net; fn f() { Instant::now(); println!(); } }",
        "#[cfg(test)]\n#[allow(dead_code)]\nfn f() -> [u8; 2] { std::fs::read() }",
        "#[cfg(test)] use std::{fs, env};\nfn g() {}",
        "#[cfg(all(test, unix))]\nmod tests { use std::fs; }",
    ];
    for text in good {
        assert_eq!(found_in("domain/finding.rs", text), Vec::<String>::new(), "{text}");
    }
    let bad = [
        ("#[cfg(test)]\nmod tests { use std::fs; }\nuse std::fs;", "3: std::fs"),
        ("#[cfg(test)] use std::{fs, env};\nuse std::net;", "2: std::net"),
        ("#[cfg(not(test))]\nuse std::fs;", "2: std::fs"),
        ("#[cfg(any(test, unix))]\nuse std::fs;", "2: std::fs"),
        // What a test imports does not hide what the code beside it does.
        ("fn f() { Instant::now() }\n#[cfg(test)]\nmod tests { use mock::Instant; }", "1: Instant::now"),
    ];
    for (text, expected) in bad {
        assert_eq!(found_in("domain/finding.rs", text), [expected], "{text}");
    }
}

#[test]
fn a_file_that_its_parent_declares_for_tests_is_code_for_tests() {
    let tests = "use std::fs; use crate::store::Store;";
    let sources = |parent: &str| {
        BTreeMap::from([
            ("sonar/wire.rs".to_owned(), parent.to_owned()),
            ("sonar/wire/tests.rs".to_owned(), tests.replace("std::fs", "tokio::fs")),
        ])
    };
    let found = |parent| violations(&sources(parent)).into_iter().map(|violation| violation.what).collect::<Vec<_>>();
    assert_eq!(found("#[cfg(test)]\nmod tests;"), ["crate::store::Store"]);
    assert_eq!(found("mod tests;"), ["tokio::fs", "crate::store::Store"]);
}
