//! What goes wrong in SonarQube's own manner, and answers that do not tell the truth.

use super::super::web::{self, Called};
use super::Call;

/// A wrong answer, or the right one spoiled. `Own` is the right answer in its right form, but not telling the truth: only
/// the two searches can be twisted; any other call is answered as ever.
pub type Fault = web::Fault<Twist>;

pub(super) type Matches = web::Matches<Call>;

pub(super) type Traps = web::Traps<Call, Twist>;

impl Called for Call {
    fn path(&self) -> &str {
        &self.path
    }
}

/// How the answer of a search departs from the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// No row and a total of 0, while the facets count on.
    Empty,
    /// No row, a total of 0, and no facet counts anything.
    EmptyThroughout,
    /// The totals and the sum of each facet are lower by this many. The rows are all there.
    Undercount { by: usize },
    /// The totals, the sum of each facet and the rows are lower by this many: the answer agrees with itself, and the
    /// last rows of its order are in none of its pages.
    Shortened { by: usize },
    /// The totals and the facets are right, but this many rows are missing at the end of the page.
    RowsMissing { rows: usize },
    /// Every page after the first has the rows of the page before it.
    PageRepeated,
    /// The first row of every page after the first is the last row of the page before it, so that one is missing.
    RowRepeated,
    /// The list of facets is empty.
    FacetsEmpty,
    /// There is no list of facets at all.
    FacetsAbsent,
}

impl Fault {
    /// 429 without any hint when to come back, as Cloud answers.
    pub fn too_many_requests(times: usize) -> Fault {
        Fault::json(429, r#"{"errors":[{"msg":"Too many requests"}]}"#, times)
    }

    /// 503 as a proxy in front answers it: HTML.
    pub fn unavailable(times: usize) -> Fault {
        Fault::html(503, times)
    }

    /// 503 in SonarQube's own words while its index is built anew.
    pub fn indexing(times: usize) -> Fault {
        let message = "Results are temporarily unavailable. Indexing of issues is in progress.";
        Fault::json(503, &format!(r#"{{"errors":[{{"msg":"{message}"}}]}}"#), times)
    }

    /// 500 as a Server answers when something broke inside.
    pub fn internal_error(times: usize) -> Fault {
        let message = "An error has occurred. Please contact your administrator";
        Fault::json(500, &format!(r#"{{"errors":[{{"msg":"{message}"}}]}}"#), times)
    }

    /// 401 with neither body nor type, as for a bad token.
    pub fn unauthorized(times: usize) -> Fault {
        Fault::json(401, "", times)
    }

    pub fn twist(twist: Twist, times: usize) -> Fault {
        Fault::Own { what: twist, times }
    }
}
