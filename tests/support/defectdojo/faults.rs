//! What goes wrong in DefectDojo's own manner.

use std::time::Duration;

use super::super::web::{self, Called};
use super::Call;

/// A wrong answer, or the right one spoiled. `Own` is a `Mishap`.
pub type Fault = web::Fault<Mishap>;

pub(super) type Traps = web::Traps<Call, Mishap>;

/// What only DefectDojo does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Everything is done and stored; the answer is a 500 all the same.
    AfterCommit,
    /// The connection is reset after this time, while the server goes on.
    Dropped { after: Duration },
    /// The connection is reset at once. A reimport is matched then and stores nothing until the test lets it end
    /// ([`DefectDojo::end_late`](super::DefectDojo::end_late)); any other call is done then and there.
    Late,
    /// A reimport breaks off with a 500 when this many rows are worked through. They stay; nothing is closed, and the
    /// import history knows nothing of it.
    MidRows { rows: usize },
    /// The token of this call is revoked before the server looks at it.
    TokenRevoked,
}

impl Called for Call {
    fn path(&self) -> &str {
        &self.path
    }
}

impl Fault {
    pub fn mishap(what: Mishap, times: usize) -> Fault {
        Fault::Own { what, times }
    }

    /// 429 as a proxy in front answers it; DefectDojo itself never throttles.
    pub fn too_many_requests(times: usize) -> Fault {
        Fault::Status {
            code: 429,
            body: "<html><body><h1>429 Too Many Requests</h1></body></html>".to_owned(),
            content_type: "text/html".to_owned(),
            headers: Vec::new(),
            times,
        }
    }

    /// 500 in DefectDojo's own words.
    pub fn internal_error(times: usize) -> Fault {
        Fault::json(500, &super::answer::internal_error().body, times)
    }

    /// 502 of a proxy whose DefectDojo does not run.
    pub fn bad_gateway(times: usize) -> Fault {
        Fault::html(502, times)
    }
}
