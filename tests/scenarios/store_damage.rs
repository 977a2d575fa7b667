//! A database that is damaged when the daemon starts: it is refused in one sentence, left as it is, and set aside only
//! when that is asked for.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use crate::support::damage::make_newer;
use crate::support::gateway::{Gateway, Said, program, run};

const FILE: &str = "hydrophone.redb";

/// A state folder that a gateway has run in.
fn used() -> Arc<tempfile::TempDir> {
    Gateway::start().stop()
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("state").join(FILE)
}

/// Starts a daemon that has to refuse; what it said.
fn refused(state: &Path, flags: &[&str]) -> Said {
    let arguments = ["serve", "--webhook-listen", "127.0.0.1:0", "--admin-listen", "off", "--state"];
    let said = run(program().args(arguments).arg(state).args(flags), "");
    assert_ne!(said.code, 0, "{said:?}");
    said
}

/// The names of what lies beside the database, if it begins with its name.
fn aside(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path().join("state")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(FILE) && name != FILE)
        .collect();
    names.sort();
    names
}

type Damage = fn(&mut Vec<u8>);

const DAMAGES: [(&str, Damage); 4] = [
    ("no database at all", |bytes| *bytes = b"This is a letter to the editor.".to_vec()),
    ("the beginning is gone", |bytes| bytes[..512].fill(0)),
    ("the end is gone", |bytes| bytes.truncate(bytes.len() / 3)),
    ("noise behind the header", |bytes| {
        let length = bytes.len();
        for (at, byte) in bytes[4096..length].iter_mut().enumerate() {
            *byte = u8::try_from(at * 7 % 251).unwrap();
        }
    }),
];

#[test]
fn a_damaged_database_is_refused_and_set_aside_only_when_that_is_asked_for() {
    for (what, damage) in DAMAGES {
        let folder = used();
        let mut bytes = std::fs::read(file(&folder)).unwrap();
        damage(&mut bytes);
        std::fs::write(file(&folder), &bytes).unwrap();

        let said = refused(&folder.path().join("state"), &[]);
        assert_eq!(said.code, 78, "{what}: {said:?}");
        let lines: Vec<&str> = said.err.lines().collect();
        let [line] = lines[..] else { panic!("{what}: more than one sentence: {}", said.err) };
        assert!(line.contains("is damaged") && line.contains("--set-damaged-aside"), "{what}: {line}");
        assert!(std::fs::read(file(&folder)).unwrap() == bytes, "{what}: the file was touched");
        assert_eq!(aside(&folder), [""; 0], "{what}");

        let gateway = Gateway::start_in(Arc::clone(&folder), &["--set-damaged-aside"])
            .unwrap_or_else(|log| panic!("{what}: it does not start: {log}"));
        assert!(gateway.log().contains("it is kept as"), "{what}: {}", gateway.log());
        assert_eq!(gateway.json(&["source", "list"])["sources"].as_array().map(Vec::len), Some(0), "{what}");
        gateway.stop();
        let [kept] = &aside(&folder)[..] else { panic!("{what}: {:?}", aside(&folder)) };
        let time = kept.strip_prefix("hydrophone.redb.damaged-").unwrap();
        assert!(time.len() == 16 && time.ends_with('Z') && time.as_bytes()[8] == b'T', "{what}: {kept}");
        assert!(
            std::fs::read(folder.path().join("state").join(kept)).unwrap() == bytes,
            "{what}: it is kept as it was"
        );
        // The new one is whole: the flag may stay and changes nothing.
        Gateway::start_in(Arc::clone(&folder), &["--set-damaged-aside"]).unwrap().stop();
        assert_eq!(aside(&folder).len(), 1, "{what}");
    }
}

/// Where systemd starts the gateway, nobody can give it a flag for once; the environment can be given. It may stay, too.
#[test]
fn the_environment_asks_for_a_damaged_database_to_be_set_aside_and_changes_no_whole_one() {
    let folder = used();
    std::fs::write(file(&folder), "This is a letter to the editor.").unwrap();
    let start = |value: &str| {
        let mut command = program();
        command.env("HYDROPHONE_SET_DAMAGED_ASIDE", value);
        Gateway::start_as(command, Arc::clone(&folder), &[], [Stdio::null(), Stdio::null()])
    };
    let refused = start("0").err().unwrap();
    assert!(refused.contains("is damaged") && refused.contains("HYDROPHONE_SET_DAMAGED_ASIDE=1"), "{refused}");
    assert_eq!(aside(&folder), [""; 0]);
    let gateway = start("1").unwrap_or_else(|log| panic!("{log}"));
    gateway.json(&["asset", "add", "Panama"]);
    gateway.stop();
    for _ in 0..2 {
        let gateway = start("1").unwrap_or_else(|log| panic!("{log}"));
        assert_eq!(gateway.json(&["asset", "list"])["assets"][0]["name"], "Panama");
        gateway.stop();
        assert_eq!(aside(&folder).len(), 1);
    }
}

/// An empty box in the place of one that was set up would look as if nothing were wrong with anything.
#[test]
fn a_database_that_is_gone_is_not_begun_anew_unasked_where_its_configuration_is_kept() {
    let folder = used();
    let state = folder.path().join("state");
    std::fs::remove_file(file(&folder)).unwrap();
    std::fs::write(state.join("hydrophone.nightly"), "not even a whole one").unwrap();
    for flags in [&[][..], &["--set-damaged-aside"]] {
        let said = refused(&state, flags);
        assert_eq!((said.code, said.err.lines().count()), (78, 1), "{said:?}");
        for part in ["hydrophone restore FILE", "remove hydrophone.nightly and hydrophone.nightly.former"] {
            assert!(said.err.contains(part), "{}", said.err);
        }
        assert!(!file(&folder).exists());
    }
    std::fs::remove_file(state.join("hydrophone.nightly")).unwrap();
    Gateway::start_in(folder, &[]).unwrap().stop();
}

#[test]
fn a_database_that_is_set_aside_overwrites_none_that_was_before() {
    let folder = used();
    for number in 1..=3 {
        std::fs::write(file(&folder), format!("letter {number}")).unwrap();
        Gateway::start_in(Arc::clone(&folder), &["--set-damaged-aside"]).unwrap().stop();
        assert_eq!(aside(&folder).len(), number);
    }
    let state = folder.path().join("state");
    let mut letters: Vec<_> =
        aside(&folder).iter().map(|name| std::fs::read_to_string(state.join(name)).unwrap()).collect();
    letters.sort();
    assert_eq!(letters, ["letter 1", "letter 2", "letter 3"]);
}

#[test]
fn a_database_that_is_in_use_is_never_set_aside() {
    let gateway = Gateway::start();
    let held = gateway.state().join(FILE);
    // Damaged under the running one: that one must not lose its file to another.
    let mut bytes = std::fs::read(&held).unwrap();
    bytes[..512].fill(0);
    let whole = std::fs::read(&held).unwrap();
    for content in [&whole, &bytes] {
        use std::os::unix::fs::FileExt;
        let open = std::fs::OpenOptions::new().write(true).open(&held).unwrap();
        open.write_all_at(&content[..512], 0).unwrap();
        let said = refused(&gateway.state(), &["--set-damaged-aside"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("is in use by another hydrophone"), "{}", said.err);
    }
    let names: Vec<_> = std::fs::read_dir(gateway.state()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("damaged")), "{names:?}");
}

/// Makes every page that holds a text unreadable, and says how many there were.
fn spoil_pages_with(file: &Path, text: &str) -> usize {
    let mut bytes = std::fs::read(file).unwrap();
    let spoilt = bytes
        .chunks_mut(4096)
        .skip(1)
        .filter_map(|page| page.windows(text.len()).any(|part| part == text.as_bytes()).then(|| page[..4].fill(0)));
    let spoilt = spoilt.count();
    std::fs::write(file, bytes).unwrap();
    spoilt
}

/// A start does not look at every page: that takes seconds for a large file. Whoever meets the damage later ends the
/// daemon, as to go on would show a part as the whole.
#[test]
fn a_damaged_page_that_is_met_while_running_stops_the_daemon_with_the_way_back() {
    for meet in [&["asset", "list"][..], &["asset", "add", "Suez"]] {
        let gateway = Gateway::start();
        gateway.json(&["asset", "add", "Panama"]);
        let folder = gateway.stop();
        assert!(spoil_pages_with(&file(&folder), "Panama") > 0);

        let gateway = Gateway::start_in(Arc::clone(&folder), &[]).unwrap();
        gateway.cli(meet);
        let line = gateway.wait_for_log("hydrophone stops");
        assert!(line.contains("is damaged") && line.contains("--set-damaged-aside"), "{line}");
        let (code, folder) = gateway.ended();
        assert_eq!(code, Some(78), "{meet:?}");

        Gateway::start_in(Arc::clone(&folder), &["--set-damaged-aside"]).unwrap().stop();
        let [kept] = &aside(&folder)[..] else { panic!("{:?}", aside(&folder)) };
        let kept = std::fs::read(folder.path().join("state").join(kept)).unwrap();
        assert!(spoilt_of(&kept) > 0, "it is kept as it was");
    }
}

/// How many pages have lost their beginning and hold something.
fn spoilt_of(bytes: &[u8]) -> usize {
    let holds = |page: &[u8]| page.windows(6).any(|part| part == b"Panama");
    bytes.chunks(4096).skip(1).filter(|page| page.starts_with(&[0; 4]) && holds(page)).count()
}

#[test]
fn a_database_of_a_newer_version_is_never_set_aside() {
    let folder = used();
    make_newer(&file(&folder));
    for flags in [&[][..], &["--set-damaged-aside"]] {
        let said = refused(&folder.path().join("state"), flags);
        assert_eq!(said.code, 78, "{said:?}");
        assert!(said.err.contains("has format 23") && !said.err.contains("damaged"), "{}", said.err);
        assert_eq!(aside(&folder), [""; 0]);
    }
}
