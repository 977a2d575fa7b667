//! Takes `multipart/form-data` apart, strictly: a client that writes it carelessly is refused here, where a lenient
//! parser would hide what another server refuses.

/// The fields of a form in their order, and its file.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    pub(super) fields: Vec<(String, String)>,
    pub(super) file: Option<Upload>,
}

#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

impl Form {
    /// The last of a field's values.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.fields.iter().filter(|(one, _)| one == name).map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn parse(content_type: &str, body: &[u8]) -> Result<Form, String> {
        let boundary = parameter(content_type, "boundary").ok_or("Invalid boundary in multipart: None")?;
        if boundary.is_empty() || boundary.len() > 70 {
            return Err(format!("Invalid boundary in multipart: {boundary}"));
        }
        let delimiter = format!("--{boundary}");
        let mut rest = body.strip_prefix(delimiter.as_bytes()).ok_or("The body does not begin with its boundary")?;
        let between = format!("\r\n{delimiter}");
        let mut form = Form::default();
        loop {
            if let Some(end) = rest.strip_prefix(b"--") {
                return if end.is_empty() || end == b"\r\n" { Ok(form) } else { Err("Bytes after the end".to_owned()) };
            }
            rest = rest.strip_prefix(b"\r\n").ok_or("A boundary is not a line of its own")?;
            let head_end = find(rest, b"\r\n\r\n").ok_or("A part has no end of its header")?;
            let head = std::str::from_utf8(&rest[..head_end]).map_err(|_| "A part's header is not text")?;
            let content = &rest[head_end + 4..];
            let content_end = find(content, between.as_bytes()).ok_or("A part has no end")?;
            form.take(head, &content[..content_end])?;
            rest = &content[content_end + between.len()..];
        }
    }

    fn take(&mut self, head: &str, content: &[u8]) -> Result<(), String> {
        let disposition = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition").then(|| value.trim())
        });
        let disposition = disposition.filter(|one| one.starts_with("form-data")).ok_or("A part is no form data")?;
        let name = parameter(disposition, "name").ok_or("A part has no name")?;
        match parameter(disposition, "filename") {
            Some(_) if name != "file" || self.file.is_some() => Err(format!("Simulation: a second file, '{name}'")),
            Some(file) => {
                self.file = Some(Upload { name: file, bytes: content.to_vec() });
                Ok(())
            }
            None => {
                let text = String::from_utf8(content.to_vec()).map_err(|_| format!("Field '{name}' is not UTF-8"))?;
                self.fields.push((name, text));
                Ok(())
            }
        }
    }
}

/// A parameter of a header's value, with or without quotes.
fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|part| {
        let (one, value) = part.trim().split_once('=')?;
        one.eq_ignore_ascii_case(name).then(|| value.trim_matches('"').to_owned())
    })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    // A plain window search over megabytes takes seconds without optimisation; the first byte sorts out most places.
    let first = what[0];
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == first) {
        if bytes[at + next..].starts_with(what) {
            return Some(at + next);
        }
        at += next + 1;
    }
    None
}
