//! What goes wrong on the way: answers of a test's choosing, cut ones, and when they strike.

use std::time::Duration;

/// A wrong answer given instead of, or made of, the right one, a number of times.
#[derive(Clone, Debug)]
pub enum Fault<X> {
    Status {
        code: u16,
        body: String,
        content_type: String,
        headers: Vec<(String, String)>,
        times: usize,
    },
    /// The right answer with its right length, but the connection breaks halfway through the body.
    CutBody {
        times: usize,
    },
    /// The connection closes without a word.
    NoAnswer {
        times: usize,
    },
    /// The connection is reset instead of an answer.
    Reset {
        times: usize,
    },
    /// The right answer with its right length, but the connection is reset halfway through the body.
    ResetBody {
        times: usize,
    },
    /// The right answer, its body in so many pieces with a pause before each but the first.
    Drip {
        pieces: usize,
        pause: Duration,
        times: usize,
    },
    /// What only this simulation can do.
    Own {
        what: X,
        times: usize,
    },
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Times(usize),
    /// The n-th, 2n-th, 3n-th call, until the faults are cleared.
    EveryNth(usize),
    /// Every call, until the faults are cleared.
    Always,
}

impl<X> Fault<X> {
    /// An HTML page where JSON was expected.
    pub fn html(code: u16, times: usize) -> Fault<X> {
        let body = "<!DOCTYPE html><html><body><h1>Sorry</h1></body></html>".to_owned();
        Fault::Status { code, body, content_type: "text/html".to_owned(), headers: Vec::new(), times }
    }

    pub fn json(code: u16, body: &str, times: usize) -> Fault<X> {
        let content_type = "application/json".to_owned();
        Fault::Status { code, body: body.to_owned(), content_type, headers: Vec::new(), times }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Fault<X> {
        if let Fault::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub fn times(&self) -> usize {
        match self {
            Fault::Status { times, .. }
            | Fault::CutBody { times }
            | Fault::NoAnswer { times }
            | Fault::Reset { times }
            | Fault::ResetBody { times }
            | Fault::Drip { times, .. }
            | Fault::Own { times, .. } => *times,
        }
    }
}
