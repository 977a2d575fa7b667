//! Reads long lists page by page. Entries stay JSON values, so that fields which a newer daemon adds are kept.

use serde_json::Value;

use super::client::{Answer, Client, Failure};

/// A list that is read page by page.
pub struct Pages<'a, F> {
    client: &'a Client,
    path: F,
    cursor: Option<String>,
    ended: bool,
}

impl<'a, F: Fn(u64, Option<&str>) -> String> Pages<'a, F> {
    /// `path` makes a page's path from a number of rows and a cursor.
    pub fn new(client: &'a Client, path: F) -> Self {
        Self { client, path, cursor: None, ended: false }
    }

    /// The next page with at most so many rows; none after the last.
    pub fn next(&mut self, rows: u64) -> Result<Option<Answer<Value>>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let path = (self.path)(rows.min(PAGE_ROWS), self.cursor.as_deref());
        let page: Answer<Value> = self.client.get(&path)?;
        let next = page.value["next"].as_str().map(str::to_owned);
        // A cursor that does not move would have us read the same page for ever.
        if next.is_some() && next == self.cursor {
            return Err(Failure::Lost("the list does not advance".to_owned()));
        }
        self.ended = next.is_none();
        self.cursor = next;
        Ok(Some(page))
    }
}

/// The first rows of a list as one answer, put together from as many pages as it takes.
pub fn first_rows(
    client: &Client,
    field: &str,
    rows: u64,
    path: impl Fn(u64, Option<&str>) -> String,
) -> Result<Answer<Value>, Failure> {
    let mut pages = Pages::new(client, path);
    let mut whole = pages.next(rows)?.ok_or_else(|| Failure::Lost("the list has no page".to_owned()))?;
    loop {
        let read = whole.value[field].as_array().map_or(0, Vec::len) as u64;
        if read >= rows {
            return Ok(whole);
        }
        let Some(mut page) = pages.next(rows - read)? else { return Ok(whole) };
        let next = page.value["next"].take();
        if let (Some(all), Some(more)) = (whole.value[field].as_array_mut(), page.value[field].as_array_mut()) {
            all.append(more);
        }
        whole.value["next"] = next;
        whole.document = whole.value.to_string();
    }
}

/// Reads a value as one of the API's shapes.
pub fn shaped<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| Failure::Lost(format!("it is not what this version expects ({error})")))
}

/// Rows of a page; the API's own maximum.
const PAGE_ROWS: u64 = crate::domain::limits::LIST_ROWS_MAX as u64;

#[cfg(test)]
mod tests {
    use super::super::client::tests::FakeDaemon;
    use super::*;

    fn path(rows: u64, cursor: Option<&str>) -> String {
        super::super::client::path_with(&["things"], &[("limit", Some(&rows.to_string())), ("cursor", cursor)])
    }

    #[test]
    fn pages_are_put_together_until_the_limit() {
        let daemon = FakeDaemon::start(|line, _| {
            let body = match line.split_once('?').unwrap().1 {
                "limit=3" => r#"{"things":[1,2],"next":"a","total":9}"#,
                "limit=1&cursor=a" => r#"{"things":[3],"next":"b","total":9}"#,
                other => panic!("{other}"),
            };
            (200, body.to_owned())
        });
        let answer = first_rows(&daemon.client(), "things", 3, path).unwrap();
        assert_eq!(answer.value, serde_json::json!({"things": [1, 2, 3], "next": "b", "total": 9}));
        assert_eq!(serde_json::from_str::<Value>(&answer.document).unwrap(), answer.value);
    }

    #[test]
    fn a_list_that_ends_early_is_whole() {
        let daemon = FakeDaemon::start(|_, _| (200, r#"{"things": [1], "next": null}"#.to_owned()));
        let answer = first_rows(&daemon.client(), "things", 3, path).unwrap();
        assert_eq!(answer.document, r#"{"things": [1], "next": null}"#);
    }

    #[test]
    fn a_cursor_that_stands_still_ends_the_reading() {
        let daemon = FakeDaemon::start(|_, _| (200, r#"{"things":[],"next":"a"}"#.to_owned()));
        assert!(matches!(first_rows(&daemon.client(), "things", 3, path), Err(Failure::Lost(_))));
    }
}
