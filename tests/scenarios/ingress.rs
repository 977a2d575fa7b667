//! The webhook listener: what each kind of call is answered, and what it leaves behind.

use serde_json::json;

use crate::calls::{Answer, Call, Hook, Line, SIGNATURE, body, deliveries, delivery, idle, settled};
use crate::support::gateway::Gateway;
use crate::support::sonar::{Issue, Mode, Sonar, signature};
use crate::support::{connect, findings, import};

const MIB: usize = 1024 * 1024;

/// A gateway that is connected to a SonarQube Cloud with the projects `shop`, which is imported, and `till`.
struct Scene {
    sonar: Sonar,
    gateway: Gateway,
    hook: Hook,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(flags: &[&str]) -> Self {
        let sonar = Sonar::start(Mode::Cloud);
        sonar.edit(|model| {
            model.add_project("acme", "shop", "Web shop");
            model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", 12).with_key("A"));
            model.add_project("acme", "till", "Till");
        });
        let gateway = Gateway::start_with(flags);
        connect(&gateway, &sonar);
        import(&gateway, "acme", &["shop"]);
        let hook = Hook::of(&gateway, "acme");
        idle(&gateway);
        Self { sonar, gateway, hook }
    }

    /// The database's bytes.
    fn stored(&self) -> Vec<u8> {
        std::fs::read(self.gateway.state().join("hydrophone.redb")).unwrap()
    }

    /// Sends calls that have to be refused, and proves that they left nothing but a counter behind.
    fn refused(&self, calls: impl IntoIterator<Item = (u16, Call)>) -> Vec<Answer> {
        let before = idle(&self.gateway)["deliveries"].clone();
        let stored = self.stored();
        let mut answers = Vec::new();
        for (status, call) in calls {
            let answer = self.hook.send(&call);
            assert_eq!(answer.status, status, "{answer:?} to {}", String::from_utf8_lossy(&call.head()));
            assert_eq!(answer.body, "", "no detail is told: {answer:?}");
            answers.push(answer);
        }
        assert!(stored == self.stored(), "a refused call was written to the disk");
        let after = self.gateway.json(&["status"])["deliveries"].clone();
        let rejected = before["rejected"].as_u64().unwrap() + answers.len() as u64;
        assert_eq!(
            after,
            json!({
                "accepted": before["accepted"], "duplicate": before["duplicate"],
                "unavailable": before["unavailable"], "rejected": rejected,
            })
        );
        answers
    }
}

#[test]
fn a_signed_call_is_accepted_and_the_same_call_again_is_linked_to_it() {
    let scene = Scene::new();
    let first = scene.hook.post(&body("shop", "T1"));
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.header("content-type"), Some("application/json"));
    let told = first.json();
    let id = told["delivery"].as_str().unwrap();
    assert!(id.starts_with('D') && id[1..].bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    assert_eq!(told, json!({ "delivery": id }));
    let synced = settled(&scene.gateway, id, "synced");
    assert_eq!(
        (&synced["project"], &synced["branch"], &synced["task_id"], &synced["status"], &synced["duplicate_of"]),
        (&json!("shop"), &json!("main"), &json!("T1"), &json!("SUCCESS"), &json!(null))
    );
    assert!(synced["synced_at"].is_string(), "{synced}");

    let again = scene.hook.post(&body("shop", "T1"));
    assert_eq!(again.status, 202, "{again:?}");
    let second = again.json()["delivery"].as_str().unwrap().to_owned();
    assert_eq!(again.json(), json!({ "delivery": second, "duplicate": true }));
    let linked = delivery(&scene.gateway, &second);
    assert_eq!((&linked["outcome"], &linked["duplicate_of"]), (&json!("duplicate"), &json!(id)));
    let status = scene.gateway.json(&["status"]);
    assert_eq!(status["deliveries"], json!({ "accepted": 2, "duplicate": 1, "rejected": 0, "unavailable": 0 }));
}

#[test]
fn a_call_for_a_project_that_is_not_imported_and_one_of_a_failed_task_are_accepted_and_read_nothing() {
    let scene = Scene::new();
    scene.sonar.forget_requests();
    let other = scene.hook.accepted(&body("till", "T1"));
    assert_eq!(delivery(&scene.gateway, &other)["outcome"], "not_imported");
    let failed = scene.hook.accepted(&body("shop", "T2").replace("SUCCESS", "FAILED"));
    let shown = delivery(&scene.gateway, &failed);
    assert_eq!((&shown["outcome"], &shown["status"]), (&json!("task_failed"), &json!("FAILED")));
    idle(&scene.gateway);
    assert_eq!(scene.sonar.requests(), []);
    assert_eq!(findings(&scene.gateway, &["--project", "shop"]).len(), 1);
}

#[test]
fn a_call_without_a_right_signature_is_refused_without_a_word_and_leaves_only_a_counter() {
    let scene = Scene::new();
    let call = scene.hook.call(&body("shop", "T1"));
    let right = signature(&scene.hook.secret, &call.body);
    let wrong = right.replace(['0', '1'], "2").replace('e', "d");
    assert_ne!(wrong, right);
    let signed = |text: &str| (401, call.clone().with(SIGNATURE, text));
    scene.refused([
        (401, call.clone().without(SIGNATURE)),
        signed(""),
        signed(&"ABCDEF01".repeat(8)),
        signed(&format!("sha256={right}")),
        signed(&right[..63]),
        signed(&format!("{right}0")),
        signed(&format!("{}g", &right[..63])),
        signed(&wrong),
        signed(&signature("another secret of Sonar's", &call.body)),
    ]);
    let upper = right.to_uppercase();
    if upper != right {
        scene.refused([signed(&upper)]);
    }
    assert_eq!(deliveries(&scene.gateway), Vec::<serde_json::Value>::new());
    // The signature is over the bytes, not over what they mean.
    let mut spaced = call.clone();
    spaced.body.insert(1, b' ');
    spaced.set("Content-Length", &spaced.body.len().to_string());
    scene.refused([(401, spaced)]);
    assert_eq!(scene.hook.send(&call).status, 202);
}

#[test]
fn what_the_head_alone_tells_is_answered_before_the_body_is_read() {
    let scene = Scene::new();
    let right = scene.hook.call(&body("shop", "T1"));
    let unknown = Call { path: format!("/hooks/{}", "0".repeat(32)), ..right.clone() };
    let other_method = Call { method: "PUT".to_owned(), ..right.clone() };
    let too_large = right.clone().with("Content-Length", &(MIB + 1).to_string());
    for (status, call) in [
        (401, right.clone().without(SIGNATURE)),
        (401, right.clone().with(SIGNATURE, "0123")),
        (404, unknown),
        (405, other_method),
        (413, too_large),
        (415, right.clone().with("Content-Type", "text/plain")),
    ] {
        let mut line = Line::open(&scene.hook.address);
        line.write(&call.head());
        let answer = line.answer().expect("the answer does not wait for the body");
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{answer:?}");
    }
}

#[test]
fn an_unknown_endpoint_is_answered_404() {
    let scene = Scene::new();
    let at = |path: &str| (404, Call { path: path.to_owned(), ..scene.hook.call(&body("shop", "T1")) });
    let known = scene.hook.path.clone();
    scene.refused([
        at("/"),
        at("/hooks/"),
        at("/hooks"),
        at(&format!("/hooks/{}", "f".repeat(32))),
        at(&format!("{known}0")),
        at(&format!("{known}/")),
        at(&known[..known.len() - 1]),
        at(&known.to_uppercase().replace("/HOOKS/", "/hooks/")),
        at(&format!("/api/v1{known}")),
    ]);
}

#[test]
fn other_methods_are_answered_405_and_other_types_415() {
    let scene = Scene::new();
    let call = scene.hook.call(&body("shop", "T1"));
    let methods = ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"];
    let answers = scene.refused(methods.map(|method| (405, Call { method: method.to_owned(), ..call.clone() })));
    for answer in answers {
        assert_eq!(answer.header("allow"), Some("POST"), "{answer:?}");
    }
    let types = ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", ""];
    scene.refused(types.map(|one| (415, call.clone().with("Content-Type", one))));
    scene.refused([(415, call.clone().without("Content-Type"))]);
    for one in ["application/json", "Application/JSON;charset=UTF-8", "application/json ; charset=utf-8"] {
        assert_eq!(scene.hook.send(&call.clone().with("Content-Type", one)).status, 202, "{one}");
    }
}

#[test]
fn a_body_over_one_mebibyte_is_answered_413_as_soon_as_it_shows() {
    let scene = Scene::new();
    let padded = |bytes: usize| {
        let body = body("shop", "T1");
        let padding = " ".repeat(bytes - body.len());
        format!("{body}{padding}")
    };
    // The largest that is allowed.
    let largest = scene.hook.post(&padded(MIB));
    assert_eq!(largest.status, 202, "{largest:?}");
    idle(&scene.gateway);
    let stored = scene.stored();

    // In chunks nobody knows how long it will be; not one byte more than needed is sent.
    let too_large = padded(MIB + 1);
    let call = scene.hook.call(&too_large).without("Content-Length").with("Transfer-Encoding", "chunked");
    let mut line = Line::open(&scene.hook.address);
    line.write(&call.head());
    for piece in call.body.chunks(64 * 1024) {
        line.write(format!("{:x}\r\n", piece.len()).as_bytes());
        line.write(piece);
        line.write(b"\r\n");
    }
    let answer = line.answer().expect("the answer comes before the body's end");
    assert_eq!((answer.status, answer.body.as_str()), (413, ""), "{answer:?}");
    assert!(line.is_closed(), "what is left of the body is not read");

    let huge = scene.hook.call("").with("Content-Length", "1099511627776");
    let mut line = Line::open(&scene.hook.address);
    line.write(&huge.head());
    assert_eq!(line.answer().unwrap().status, 413);
    assert!(line.is_closed());
    assert!(stored == scene.stored(), "a body that is too large was written to the disk");
    assert_eq!(deliveries(&scene.gateway).len(), 1);
}

#[test]
fn a_chunked_body_within_the_limit_is_accepted() {
    let scene = Scene::new();
    let call = scene.hook.call(&body("shop", "T1")).without("Content-Length").with("Transfer-Encoding", "chunked");
    let mut line = Line::open(&scene.hook.address);
    line.write(&call.head());
    for piece in call.body.chunks(7) {
        line.write(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    line.write(b"0\r\n\r\n");
    assert_eq!(line.answer().unwrap().status, 202);
}

#[test]
fn a_signed_body_that_cannot_be_used_is_answered_400_and_shown_in_the_log() {
    let scene = Scene::new();
    let only = Hook::of_project(&scene.gateway, "acme", "till");
    let good = body("shop", "T1");
    let no_object = "the body is not a JSON object";
    let no_project = "the body names no project";
    let cases = [
        (scene.hook.call(""), no_object),
        (scene.hook.call("no json"), no_object),
        (scene.hook.call(&good[..good.len() - 1]), no_object),
        (scene.hook.call("[]"), no_object),
        (scene.hook.call(r#"[null,null,null,null,{"key":"shop"},null,null]"#), no_object),
        (scene.hook.call(r#""shop""#), no_object),
        (scene.hook.call("null"), no_object),
        (scene.hook.call("{}"), no_project),
        (scene.hook.call(r#"{"project":{"key":""}}"#), no_project),
        (scene.hook.call(r#"{"project":"shop"}"#), no_project),
        (scene.hook.call(&good).with("X-SonarQube-Project", "till"), "header and body name different projects"),
        (only.call(&good), "this endpoint accepts another project only"),
    ];
    let count = cases.len();
    for (call, problem) in cases {
        let answer = scene.hook.send(&call);
        assert_eq!(answer.status, 400, "{answer:?} to {}", String::from_utf8_lossy(&call.body));
        assert_eq!(answer.json(), json!({ "error": problem }));
        let logged = deliveries(&scene.gateway).remove(0);
        assert_eq!((&logged["outcome"], &logged["detail"]), (&json!("malformed"), &json!(problem)), "{logged}");
        assert_eq!((&logged["source"], &logged["organization"]), (&json!("sonar"), &json!("acme")));
    }
    assert_eq!(deliveries(&scene.gateway).len(), count);
    let status = idle(&scene.gateway);
    assert_eq!(status["deliveries"], json!({ "accepted": 0, "duplicate": 0, "rejected": count, "unavailable": 0 }));
    // None of them can be run again.
    let id = deliveries(&scene.gateway)[0]["id"].as_str().unwrap().to_owned();
    let told = scene.gateway.refused(&["delivery", "replay", &id], "");
    assert!(told.contains("no body that could be run again"), "{told}");
    // The header that agrees is fine, as is none at all.
    let agreeing = scene.hook.call(&good).with("X-SonarQube-Project", "shop");
    assert_eq!(scene.hook.send(&agreeing).status, 202);
}

#[test]
fn a_connection_carries_many_calls_accepted_and_refused() {
    let scene = Scene::new();
    let mut line = Line::open(&scene.hook.address);
    for number in 1..=3 {
        line.write(&scene.hook.call(&body("till", &format!("T{number}"))).bytes());
        assert_eq!(line.answer().unwrap().status, 202);
        line.write(&scene.hook.call(&body("till", "T")).with(SIGNATURE, &"0".repeat(64)).bytes());
        assert_eq!(line.answer().unwrap().status, 401);
    }
    // Both at once: the answers keep the order.
    let pair = [scene.hook.call(&body("till", "T4")).bytes(), scene.hook.call("{}").bytes()].concat();
    line.write(&pair);
    assert_eq!(line.answer().unwrap().status, 202);
    assert_eq!(line.answer().unwrap().status, 400);
    assert_eq!(deliveries(&scene.gateway).len(), 5);
}

#[test]
fn junk_behind_a_call_or_in_its_place_ends_the_connection_and_nothing_else() {
    let scene = Scene::new();
    let mut line = Line::open(&scene.hook.address);
    line.write(&[scene.hook.call(&body("till", "T1")).bytes(), b"\0\x01junk\r\n\r\n".to_vec()].concat());
    assert_eq!(line.answer().unwrap().status, 202);
    if let Some(answer) = line.answer() {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert!(line.is_closed());

    let mut long = scene.hook.call(&body("till", "T2"));
    long.set("X-Long", &"x".repeat(64 * 1024));
    let mut many = scene.hook.call(&body("till", "T3"));
    many.headers.extend((0..200).map(|number| (format!("X-{number}"), "x".to_owned())));
    for bytes in [b"GET\r\n\r\n".to_vec(), many.bytes(), long.bytes()[..40 * 1024].to_vec()] {
        let mut line = Line::open(&scene.hook.address);
        line.write(&bytes);
        if let Some(answer) = line.answer() {
            assert!([400, 431].contains(&answer.status), "{answer:?}");
        }
        assert!(line.is_closed());
    }
    assert_eq!(deliveries(&scene.gateway).len(), 1);
    assert_eq!(scene.hook.post(&body("till", "T4")).status, 202);
}

#[test]
fn a_connection_that_dawdles_over_its_head_is_closed_and_holds_nobody_up() {
    let scene = Scene::new();
    let mut slow = Line::open(&scene.hook.address);
    let head = scene.hook.call(&body("till", "T1")).head();
    slow.write(&head[..head.len() / 2]);
    assert_eq!(scene.hook.post(&body("till", "T2")).status, 202);
    if let Some(answer) = slow.answer() {
        assert_eq!(answer.status, 408, "{answer:?}");
    }
    assert!(slow.is_closed());
    assert_eq!(deliveries(&scene.gateway).len(), 1);
}

#[test]
fn a_body_that_does_not_come_is_answered_408() {
    let scene = Scene::new();
    let call = scene.hook.call(&body("till", "T1"));
    let mut line = Line::open(&scene.hook.address);
    line.write(&call.head());
    line.write(&call.body[..call.body.len() - 1]);
    let answer = line.answer().expect("an answer comes in the end");
    assert_eq!((answer.status, answer.body.as_str()), (408, ""), "{answer:?}");
    assert!(line.is_closed());
    assert_eq!(deliveries(&scene.gateway).len(), 0);
}

#[test]
fn a_body_cut_short_by_its_sender_leaves_nothing() {
    let scene = Scene::new();
    let stored = scene.stored();
    let call = scene.hook.call(&body("shop", "T1"));
    let mut line = Line::open(&scene.hook.address);
    line.write(&call.head());
    line.write(&call.body[..call.body.len() - 1]);
    drop(line);
    assert_eq!(scene.hook.send(&call.clone().without(SIGNATURE)).status, 401);
    assert!(stored == scene.stored());
    assert_eq!(scene.hook.send(&call).status, 202);
    assert_eq!(deliveries(&scene.gateway).len(), 1);
}

#[test]
fn a_secret_taken_over_counts_at_once_and_the_former_one_no_longer() {
    let scene = Scene::new();
    let former = scene.hook.clone();
    assert_eq!(former.post(&body("till", "T1")).status, 202);
    let secret = "a secret that Sonar has had for years, with ümläut";
    let told = scene.gateway.json_with(&["webhook", "secret", "acme", "--secret-file", "-"], secret);
    assert!(!told.to_string().contains(secret), "{told}");
    let taken = Hook { secret: secret.to_owned(), ..former.clone() };
    assert_eq!(Hook::of(&scene.gateway, "acme").path, former.path, "the address stays");
    assert_eq!(taken.post(&body("till", "T2")).status, 202);
    assert_eq!(former.post(&body("till", "T3")).status, 401);
    for (bad, rule) in [("fifteen letters", "16 to 200"), (&"x".repeat(201), "16 to 200")] {
        let told = scene.gateway.refused(&["webhook", "secret", "acme", "--secret-file", "-"], bad);
        assert!(told.contains(rule) && !told.contains(bad), "{told}");
    }
    assert_eq!(taken.post(&body("till", "T4")).status, 202);
    assert!(!scene.gateway.log().contains(secret), "{}", scene.gateway.log());
}

#[test]
fn a_projects_endpoint_accepts_that_project_only_with_a_secret_of_its_own() {
    let scene = Scene::new();
    let only = Hook::of_project(&scene.gateway, "acme", "shop");
    assert_ne!((&only.path, &only.secret), (&scene.hook.path, &scene.hook.secret));
    let id = only.accepted(&body("shop", "T1"));
    settled(&scene.gateway, &id, "synced");
    assert_eq!(only.post(&body("till", "T2")).status, 400);
    let crossed = Hook { secret: scene.hook.secret.clone(), ..only.clone() };
    assert_eq!(crossed.post(&body("shop", "T3")).status, 401);
    let crossed = Hook { secret: only.secret.clone(), ..scene.hook.clone() };
    assert_eq!(crossed.post(&body("shop", "T3")).status, 401);
    // Sonar sends one analysis to both hooks: the second is the same call.
    let both = scene.hook.post(&body("shop", "T1"));
    assert_eq!((both.status, &both.json()["duplicate"]), (202, &json!(true)));
}

#[test]
fn equal_project_keys_of_two_organizations_are_two_projects() {
    let (one, two) = (Sonar::start(Mode::Cloud), Sonar::start(Mode::Cloud));
    for (sonar, key) in [(&one, "A"), (&two, "B")] {
        sonar.edit(|model| {
            model.add_project("acme", "shop", "Web shop");
            model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", 12).with_key(key));
        });
    }
    let gateway = Gateway::start();
    for (name, sonar) in [("one", &one), ("two", &two)] {
        let (url, api_url) = (sonar.url(), sonar.api_url());
        let flags = ["source", "add", name, "--cloud", "--url", &url, "--api-url", &api_url, "--token-file", "-"];
        gateway.json_with(&flags, sonar.token());
    }
    let told = gateway.refused(&["webhook", "show", "acme"], "");
    assert!(told.contains("one/acme") && told.contains("two/acme"), "{told}");
    import(&gateway, "one/acme", &["shop"]);
    let (first, second) = (Hook::of(&gateway, "one/acme"), Hook::of(&gateway, "two/acme"));
    assert_ne!((&first.path, &first.secret), (&second.path, &second.secret));

    let id = first.accepted(&body("shop", "T1"));
    assert_eq!(settled(&gateway, &id, "synced")["source"], "one");
    // The same body to the other organization's endpoint is another call, about a project that is not imported.
    let answer = second.post(&body("shop", "T1"));
    assert_eq!((answer.status, &answer.json()["duplicate"]), (202, &json!(null)), "{answer:?}");
    let other = delivery(&gateway, answer.json()["delivery"].as_str().unwrap());
    assert_eq!((&other["source"], &other["outcome"]), (&json!("two"), &json!("not_imported")));
    let keys: Vec<_> = findings(&gateway, &[]).iter().map(|finding| finding["key"].clone()).collect();
    assert_eq!(keys, ["A"]);
    import(&gateway, "two/acme", &["shop"]);
    let mut held: Vec<_> = findings(&gateway, &[])
        .iter()
        .map(|finding| format!("{} {}", finding["source"].as_str().unwrap(), finding["key"].as_str().unwrap()))
        .collect();
    held.sort();
    assert_eq!(held, ["one A", "two B"]);
}

/// A disk counts as full below a limit that can be set; a limit above what any disk has free makes it full.
#[test]
fn while_the_disk_is_full_calls_are_answered_503_and_the_operator_is_told() {
    let scene = Scene::new();
    let free = rustix::fs::statvfs(scene.gateway.folder()).unwrap();
    if free.f_bavail.saturating_mul(free.f_frsize) >= 1_000_000 * MIB as u64 {
        println!("skipped: this disk has more free space than the limit can be set to");
        return;
    }
    let first = scene.hook.accepted(&body("shop", "T1"));
    settled(&scene.gateway, &first, "synced");
    scene.gateway.json(&["config", "set", "free-space-min-mib", "1000000"]);
    let call = scene.hook.call(&body("shop", "T2"));
    let answer = scene.hook.send(&call);
    assert_eq!((answer.status, answer.body.as_str()), (503, ""), "{answer:?}");
    assert!(answer.header("retry-after").unwrap().parse::<u32>().is_ok(), "{answer:?}");
    assert_eq!(scene.hook.send(&call.clone().without(SIGNATURE)).status, 401);
    let status = scene.gateway.json(&["status"]);
    assert_eq!(status["deliveries"], json!({ "accepted": 1, "duplicate": 0, "rejected": 1, "unavailable": 1 }));
    assert_eq!(status["ready"], false);
    let mut conditions = status["conditions"].as_array().unwrap().iter();
    assert!(conditions.any(|one| one["code"] == "disk_full" && one["severity"] == "error"), "{status}");
    assert_eq!(findings(&scene.gateway, &["--project", "shop"]).len(), 1, "lists go on working");
    assert_eq!(deliveries(&scene.gateway).len(), 1);
    let told = scene.gateway.refused(&["asset", "add", "Another"], "");
    assert!(told.contains("below 1000000 MiB nothing new is taken in"), "{told}");

    scene.gateway.json(&["config", "set", "free-space-min-mib", "64"]);
    let answer = scene.hook.send(&call);
    assert_eq!((answer.status, &answer.json()["duplicate"]), (202, &json!(null)), "nothing was kept: {answer:?}");
}

#[test]
fn behind_a_proxy_the_listener_takes_calls_without_tls() {
    let scene = Scene::with(&["--webhook-plain"]);
    assert!(scene.hook.address.starts_with("http://"), "{}", scene.hook.address);
    let id = scene.hook.accepted(&body("shop", "T1"));
    settled(&scene.gateway, &id, "synced");
    let call = scene.hook.call(&body("shop", "T2"));
    scene.refused([(401, call.clone().without(SIGNATURE)), (405, Call { method: "GET".to_owned(), ..call.clone() })]);
    let mut line = Line::open(&scene.hook.address);
    line.write(&call.clone().with("Content-Length", &(MIB + 1).to_string()).head());
    assert_eq!(line.answer().unwrap().status, 413);
    assert_eq!(scene.hook.send(&call).status, 202);
}

/// Sonar calls once: one that had connected when the box began to stop, for an upgrade above all, would be lost.
#[test]
fn who_has_connected_before_it_stops_still_makes_the_call() {
    for flags in [&[][..], &["--webhook-plain"]] {
        let scene = Scene::with(flags);
        let mut silent = Line::open(&scene.hook.address);
        let mut halting = Line::open(&scene.hook.address);
        let call = scene.hook.call(&body("shop", "T2")).bytes();
        halting.write(&call[..40]);
        // Connections are taken one after the other, so those above are.
        scene.hook.accepted(&body("shop", "T1"));
        scene.gateway.begin_stop();
        silent.write(&scene.hook.call(&body("shop", "T3")).bytes());
        halting.write(&call[40..]);
        for line in [&mut silent, &mut halting] {
            let answer = line.answer().unwrap_or_else(|| panic!("{flags:?}: no answer"));
            assert_eq!((answer.status, answer.header("Connection")), (202, Some("close")), "{flags:?}");
            assert!(line.is_closed());
        }
        let (code, folder) = scene.gateway.ended();
        assert_eq!(code, Some(0));
        let again = Gateway::start_in(folder, &[]).unwrap_or_else(|log| panic!("{log}"));
        assert_eq!(deliveries(&again).len(), 3);
    }
}
