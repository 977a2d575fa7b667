//! Requests that no sender of ours makes: those that can be read in two ways, heads and bodies without end, answers that
//! nobody reads. Each is answered or cut within its limit, and nothing of it is taken for something else.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use crate::calls::{Call, Line, SIGNATURE, body};
use crate::strangers::Scene;
use crate::support::gateway::Gateway;

/// Requests that proxies and servers have been known to read in two ways, and others that no sender of ours makes. Each is
/// answered with an error or cut, and nothing behind it is taken for a request of its own.
#[test]
fn requests_that_can_be_read_in_two_ways_are_never_taken_for_two() {
    let scene = Scene::new(&["--webhook-plain"]);
    let good = scene.hook.call(&body("shop", "T1"));
    let inner = String::from_utf8(scene.hook.call(&body("shop", "T2")).bytes()).unwrap();
    let head = |more: &str| {
        let bare = good.clone().without("Content-Length").head();
        let bare = String::from_utf8(bare).unwrap();
        format!("{}{more}\r\n", bare.strip_suffix("\r\n").unwrap())
    };
    let length = good.body.len();
    let text = String::from_utf8(good.body.clone()).unwrap();
    for (what, request) in [
        (
            "two lengths",
            format!("{}{text}{inner}", head(&format!("Content-Length: {length}\r\nContent-Length: 0\r\n"))),
        ),
        ("two in one", format!("{}{text}{inner}", head(&format!("Content-Length: {length}, 0\r\n")))),
        ("a sign", format!("{}{text}{inner}", head(&format!("Content-Length: +{length}\r\n")))),
        (
            "length and chunks",
            format!("{}0\r\n\r\n{inner}", head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        ),
        (
            "chunks and length",
            format!("{}0\r\n\r\n{inner}", head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
        ),
        ("a coding behind", format!("{}0\r\n\r\n{inner}", head("Transfer-Encoding: chunked, identity\r\n"))),
        ("another coding", format!("{}0\r\n\r\n{inner}", head("Transfer-Encoding: xchunked\r\n"))),
        ("a space", format!("{}{text}{inner}", head(&format!("Content-Length : {length}\r\n")))),
        ("a fold", format!("{}{text}{inner}", head(&format!("X: a\r\n Content-Length: {length}\r\n")))),
        ("odd chunks", format!("{}-1\r\n\r\n{inner}", head("Transfer-Encoding: chunked\r\n"))),
        ("a huge chunk", format!("{}fffffffffffffffff\r\n\r\n{inner}", head("Transfer-Encoding: chunked\r\n"))),
        (
            "chunks of 1.0",
            format!("{}0\r\n\r\n{inner}", head("Transfer-Encoding: chunked\r\n")).replace("HTTP/1.1", "HTTP/1.0"),
        ),
    ] {
        let mut line = Line::open(&scene.hook.address);
        line.write(request.as_bytes());
        let mut answers = Vec::new();
        while let Some(answer) = line.answer() {
            answers.push(answer.status);
        }
        let is_error = answers.iter().all(|status| (400..500).contains(status));
        assert!(answers.len() <= 1 && is_error, "{what}: {answers:?}");
    }
    assert_eq!(scene.gateway.json(&["delivery", "list"])["deliveries"], serde_json::json!([]));
    assert!(scene.refused("webhook", "headers") >= 1);
    // The same twice is no contradiction (RFC 9110, section 8.6), and neither is a sender of another time.
    let twice = format!("{}{text}", head(&format!("Content-Length: {length}\r\nContent-Length: {length}\r\n")));
    let old = String::from_utf8(scene.hook.call(&body("shop", "T3")).bytes()).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    for (request, closes) in [(twice, false), (old, true)] {
        let mut line = Line::open(&scene.hook.address);
        line.write(request.as_bytes());
        let answer = line.answer().unwrap();
        assert!([202, 400].contains(&answer.status), "{answer:?}");
        assert!(!closes || line.is_closed());
    }
}

#[test]
fn a_sender_that_asks_first_is_told_to_go_on_only_where_the_body_is_wanted() {
    let scene = Scene::new(&[]);
    let right = scene.hook.call(&body("shop", "T1")).with("Expect", "100-continue");
    let mut line = Line::open(&scene.hook.address);
    line.write(&right.head());
    assert_eq!(line.answer().unwrap().status, 100);
    line.write(&right.body);
    assert_eq!(line.answer().unwrap().status, 202);
    for (status, call) in [
        (401, right.clone().without(SIGNATURE)),
        (413, right.clone().with("Content-Length", "2000000")),
        (404, Call { path: "/".to_owned(), ..right.clone() }),
    ] {
        let mut line = Line::open(&scene.hook.address);
        line.write(&call.head());
        assert_eq!(line.answer().unwrap().status, status);
    }
}

#[test]
fn a_head_with_too_many_or_too_long_lines_is_refused_and_counted() {
    let scene = Scene::new(&[]);
    let call = scene.hook.call(&body("shop", "T1"));
    let mut many = call.clone();
    many.headers.extend((0..60).map(|number| (format!("X-{number}"), "x".to_owned())));
    assert_eq!(scene.hook.send(&many).status, 202, "64 lines in all");
    many.headers.push(("X-one-more".to_owned(), "x".to_owned()));
    for (count, call) in [many, call.clone().with("X-Long", &"x".repeat(17 * 1024))].into_iter().enumerate() {
        let mut line = Line::open(&scene.hook.address);
        line.write(&call.head());
        assert_eq!(line.answer().map(|answer| answer.status), Some(431));
        assert!(line.is_closed());
        // It is counted when the connection's end has been noted here, too.
        let wanted = count as u64 + 1;
        scene.gateway.wait("it to be counted", |_| (scene.refused("webhook", "headers") == wanted).then_some(()));
    }
}

/// A body in chunks says nowhere how long it will be, and may come byte by byte: it has the same size and time as any.
#[test]
fn chunks_without_end_are_cut_at_the_limit_of_size_or_time() {
    let scene = Scene::new(&["--webhook-plain"]);
    let call = scene.hook.call("").without("Content-Length").with("Transfer-Encoding", "chunked");
    let mut line = Line::open(&scene.hook.address);
    line.write(&call.head());
    line.write(b"1\r\n{\r\n");
    let answer = line.answer().expect("it is answered in the end");
    assert_eq!((answer.status, line.is_closed()), (408, true));
    let mut stream = TcpStream::connect(scene.hook.address.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(&call.head()).unwrap();
    // The largest head of a chunk that says little, over and over.
    let piece = format!("1;{}\r\n{{\r\n", "x".repeat(200));
    let mut sent = 0_u64;
    while stream.write_all(piece.as_bytes()).is_ok() {
        sent += piece.len() as u64;
        assert!(sent < 1 << 30, "a gibibyte was taken");
    }
    assert_eq!(scene.hook.post(&body("shop", "T1")).status, 202);
    assert_eq!(scene.refused("webhook", "slow"), 2, "none of them brought a body");
}

/// Whoever sends calls and reads no answer fills buffers, and then waits; their seat goes to whoever needs it.
#[test]
fn who_reads_no_answers_holds_nobody_up() {
    let scene = Scene::new(&["--webhook-plain"]);
    let to: SocketAddr = scene.hook.address.strip_prefix("http://").unwrap().parse().unwrap();
    let unknown = Call { path: "/".to_owned(), ..scene.wrong() }.bytes();
    let before = memory(&scene.gateway);
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_nonblocking(true).unwrap();
        for _ in 0..20_000 {
            if stream.write_all(&unknown).is_err() {
                break;
            }
        }
        deaf.push(stream);
    }
    assert_eq!(scene.hook.post(&body("shop", "T1")).status, 202);
    let grown = memory(&scene.gateway).saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} kB more for twenty connections");
}

/// What a process holds in memory, in kB.
fn memory(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}
