//! A platform that means harm: whatever it answers, the call ends in its time, within its memory, and without the secret
//! in anybody else's hands.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::domain::destination::PlatformKind;
use crate::domain::ids::DestinationName;

/// A server that answers every connection like this. What was sent to it is kept.
pub(in crate::platform) struct Hostile {
    pub(in crate::platform) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    fn answering(answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                    head.push(byte[0]);
                }
                kept.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
                // It goes on as long as somebody listens.
                let _ = answer(&mut stream);
            }
        });
        Self { address, heads }
    }

    pub(in crate::platform) fn once(answer: Vec<u8>) -> Self {
        Self::answering(move |stream| stream.write_all(&answer))
    }

    fn http(&self) -> Http {
        self.within(Duration::from_millis(500))
    }

    fn within(&self, call_max: Duration) -> Http {
        let name = DestinationName::parse("there").unwrap();
        let url = format!("http://{}", self.address);
        let destination = Destination::new(name, PlatformKind::Events, url, Timestamp(0));
        let http = Http::within(&destination, &Trust::load(), call_max).unwrap();
        http.with_secret_header(header::AUTHORIZATION, "Token planted-secret").unwrap()
    }
}

pub(in crate::platform) fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn later(http: &Http) -> String {
    match http.get("x").map(|answer| answer.status) {
        Err(trouble @ Trouble::Later { .. }) => {
            let text = trouble.to_string();
            assert!(text.len() < 400 && !text.contains("planted-secret"), "{text}");
            text
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_ends_in_its_time_however_slowly_an_answer_drips() {
    for (head, again) in [
        ("HTTP/1.1 200 OK\r\n\r\n[", " "),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"),
        ("HTTP/1.1 200 OK\r\nX-A: ", "b"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
    ] {
        let server = Hostile::answering(move |stream| {
            stream.write_all(head.as_bytes())?;
            loop {
                stream.write_all(again.as_bytes())?;
                thread::sleep(Duration::from_millis(20));
            }
        });
        later(&server.http());
    }
}

#[test]
fn an_answer_that_unpacks_to_much_is_given_up() {
    let packed = |bytes: &[u8]| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let most = usize::try_from(PLATFORM_ANSWER_BYTES_MAX).unwrap();
    let bomb = packed(&vec![b' '; most + 1]);
    assert!(bomb.len() < most / 100, "{} bytes", bomb.len());
    let server = Hostile::once(answer("Content-Encoding: gzip\r\n", &bomb));
    // Unpacking so much takes an unoptimised program longer than the other calls here may take.
    assert!(later(&server.within(PLATFORM_CALL_MAX)).starts_with(&format!("the answer of {}", server.address)));
    let damaged = Hostile::once(answer("Content-Encoding: gzip\r\n", b"[]"));
    assert!(later(&damaged.http()).ends_with("was cut short"));
}

#[test]
fn many_small_values_are_refused_before_they_fill_the_memory() {
    let zeros = |times: usize| format!("[0{}]", ",0".repeat(times));
    for body in [
        zeros(PLATFORM_ANSWER_VALUES_MAX),
        format!("{{\"results\":[{}{{}}]}}", "{},".repeat(PLATFORM_ANSWER_VALUES_MAX)),
        format!("[\"{}\"]", "x".repeat(PLATFORM_ANSWER_TEXT_BYTES_MAX + 1)),
        "[".repeat(100_000),
    ] {
        let server = Hostile::once(answer("", body.as_bytes()));
        assert!(later(&server.within(PLATFORM_CALL_MAX)).ends_with("which is the most that is read"));
    }
    let much = Hostile::once(answer("", zeros(PLATFORM_ANSWER_VALUES_MAX - 1).as_bytes()));
    assert!(much.within(PLATFORM_CALL_MAX).get("x").is_ok());
    // Of a page of a proxy's its commas say nothing.
    let page = format!("<p>{}", ",".repeat(PLATFORM_ANSWER_VALUES_MAX + 1));
    let read = Hostile::once(answer("", page.as_bytes()))
        .within(PLATFORM_CALL_MAX)
        .get("x")
        .unwrap()
        .read::<u64>()
        .unwrap_err();
    assert!(read.to_string().contains("an HTML page"), "{read}");
}

#[test]
fn no_redirect_takes_the_secret_anywhere() {
    let other = Hostile::once(answer("", b"{}"));
    for location in [format!("http://{}/x", other.address), "/elsewhere".to_owned(), "https://127.0.0.1/".to_owned()] {
        for status in [301, 302, 303, 307, 308] {
            let head = format!("HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let server = Hostile::once(head.into_bytes());
            let answer = server.http().post("x", "application/json", b"{}".to_vec()).unwrap();
            assert!(matches!(answer.trouble(), Some(Trouble::Refused { .. })), "{status}");
            let heads = server.heads.lock().unwrap();
            assert_eq!(heads.len(), 1, "{status}: {heads:?}");
            assert!(heads[0].contains("planted-secret"));
        }
    }
    assert_eq!(*other.heads.lock().unwrap(), Vec::<String>::new(), "nobody called there");
}

#[test]
fn its_words_are_short_and_on_one_line() {
    let long = format!("HTTP/1.1 302 X\r\nLocation: https://h/{}\r\nContent-Length: 0\r\n\r\n", "a".repeat(9_000));
    let answer = Hostile::once(long.into_bytes()).http().get("x").unwrap();
    assert!(answer.trouble().unwrap().to_string().len() < 500);
    assert_eq!(plainly("a\u{1b}[31m\r\nb\0"), "a [31m  b");
    assert_eq!(plainly(&"ä".repeat(1_000)).chars().count(), WORDS_CHARACTERS_MAX);
}
