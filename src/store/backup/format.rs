//! The bytes of a backup: a line that says what it is, then frames, each with its length and a CRC-32, then the SHA-256 of
//! all. Rows of the store by table and key, as they are stored: secrets stay sealed. A row may come again, and is gone
//! where it has no value; what comes last holds.

use std::io::{self, Read, Write};

use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode, Encoder};
use ring::digest::{Context, SHA256};

use crate::domain::time::Timestamp;
use crate::sys::seal::KeyId;
use crate::sys::seal::passphrase::Wrapped;

/// What a backup begins with; the number is the format's.
const MAGIC: &[u8] = b"hydrophone backup 1\n";

/// Frames are written at about this size.
const FRAME_BYTES: usize = 256 * 1024;

/// A longer one is not ours: no row comes near it.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// The version that made it.
    #[n(0)]
    pub version: String,
    /// The format of the database in it.
    #[n(1)]
    pub schema: u32,
    /// When it was begun.
    #[n(2)]
    pub made_at: Timestamp,
    #[n(3)]
    key: u64,
    /// The key that its secrets are sealed with, under a passphrase, where that was asked for.
    #[n(4)]
    pub wrapped: Option<Wrapped>,
    /// Whether the box had its key from its service manager.
    #[n(5)]
    pub credential: bool,
}

impl Head {
    pub(in crate::store) fn new(
        schema: u32,
        made_at: Timestamp,
        key: KeyId,
        credential: bool,
        wrapped: Option<Wrapped>,
    ) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), schema, made_at, key: key.0, wrapped, credential }
    }

    /// The key that its secrets are sealed with.
    pub fn key(&self) -> KeyId {
        KeyId(self.key)
    }
}

/// Why a backup cannot be used. Each says what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum BadBackup {
    /// The disk does not give it.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no backup of hydrophone")]
    NotOne,
    /// Of a newer version.
    #[error("a newer version of hydrophone made it{0}; install that one, or a newer one still")]
    Newer(String),
    /// Its end is missing.
    #[error("it is cut short; take the backup anew, or another copy of it")]
    Cut,
    /// It is not what was written.
    #[error("it is damaged near byte {at}; take another copy of it")]
    Damaged {
        /// Where.
        at: u64,
    },
}

/// Writes a backup.
pub(in crate::store) struct Writer<'o> {
    out: &'o mut dyn Write,
    digest: Context,
    frame: Vec<u8>,
    table: Option<String>,
    rows: u64,
}

impl<'o> Writer<'o> {
    pub(in crate::store) fn begin(out: &'o mut dyn Write, head: &Head) -> io::Result<Self> {
        let mut writer = Self { out, digest: Context::new(&SHA256), frame: Vec::new(), table: None, rows: 0 };
        writer.put(MAGIC)?;
        writer.frame.push(b'H');
        minicbor::encode(head, &mut writer.frame).expect("encoding to memory cannot fail");
        writer.end_frame()?;
        Ok(writer)
    }

    /// Writes a row, or that it is gone.
    pub(in crate::store) fn row(&mut self, table: &str, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        const MEMORY: &str = "encoding to memory cannot fail";
        if self.table.as_deref() != Some(table) {
            self.end_rows()?;
            self.frame.push(b'R');
            Encoder::new(&mut self.frame).begin_array().and_then(|encoder| encoder.str(table)).expect(MEMORY);
            self.table = Some(table.to_owned());
        }
        let mut encoder = Encoder::new(&mut self.frame);
        encoder.bytes(key).expect(MEMORY);
        match value {
            Some(value) => encoder.bytes(value),
            None => encoder.null(),
        }
        .expect(MEMORY);
        self.rows += 1;
        if self.frame.len() >= FRAME_BYTES { self.end_rows() } else { Ok(()) }
    }

    /// Ends it; without this it is cut short. Returns how many rows it has.
    pub(in crate::store) fn end(mut self) -> io::Result<u64> {
        self.end_rows()?;
        self.frame.push(b'E');
        let digest = self.digest.clone().finish();
        let end = (self.rows, <&minicbor::bytes::ByteSlice>::from(digest.as_ref()));
        minicbor::encode(end, &mut self.frame).expect("encoding to memory cannot fail");
        self.end_frame()?;
        self.out.flush()?;
        Ok(self.rows)
    }

    fn end_rows(&mut self) -> io::Result<()> {
        if self.table.take().is_some() {
            Encoder::new(&mut self.frame).end().expect("encoding to memory cannot fail");
            self.end_frame()?;
        }
        Ok(())
    }

    fn end_frame(&mut self) -> io::Result<()> {
        let frame = std::mem::take(&mut self.frame);
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.put(&length.to_le_bytes())?;
        self.put(&crc32fast::hash(&frame).to_le_bytes())?;
        self.put(&frame)?;
        self.frame = frame;
        self.frame.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.out.write_all(bytes)
    }
}

/// A part of a backup.
pub(in crate::store) enum Part {
    Rows(Rows),
    /// All of it was read, and is what was written.
    End,
}

/// Rows of one table.
pub(in crate::store) struct Rows(Vec<u8>);

impl Rows {
    /// Feeds the table's name, and each key with its value where it has one; false if that cannot be understood.
    pub(in crate::store) fn each<E>(
        &self,
        mut each: impl FnMut(&str, &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut decoder = Decoder::new(&self.0);
        let (Ok(None), Ok(table)) = (decoder.array(), decoder.str()) else { return Ok(false) };
        loop {
            match decoder.datatype() {
                Ok(Type::Break) => return Ok(true),
                Ok(Type::Bytes) => {}
                _ => return Ok(false),
            }
            let Ok(key) = decoder.bytes() else { return Ok(false) };
            let value = match decoder.datatype() {
                Ok(Type::Null) => decoder.null().map(|()| None),
                _ => decoder.bytes().map(Some),
            };
            let Ok(value) = value else { return Ok(false) };
            each(table, key, value)?;
        }
    }
}

/// Reads a backup.
pub(in crate::store) struct Reader<R> {
    from: R,
    digest: Context,
    at: u64,
    rows: u64,
}

impl<R: Read> Reader<R> {
    /// Reads its beginning.
    pub(in crate::store) fn begin(from: R) -> Result<(Self, Head), BadBackup> {
        let mut reader = Self { from, digest: Context::new(&SHA256), at: 0, rows: 0 };
        let mut magic = [0; MAGIC.len()];
        reader.take(&mut magic).map_err(|bad| if matches!(bad, BadBackup::Cut) { BadBackup::NotOne } else { bad })?;
        if magic != MAGIC {
            let is_ours = magic.starts_with(b"hydrophone backup ");
            return Err(if is_ours { BadBackup::Newer(String::new()) } else { BadBackup::NotOne });
        }
        let at = reader.at;
        let (kind, frame) = reader.frame()?;
        match minicbor::decode(&frame) {
            Ok(head) if kind == b'H' => Ok((reader, head)),
            _ => Err(BadBackup::Damaged { at }),
        }
    }

    pub(in crate::store) fn next(&mut self) -> Result<Part, BadBackup> {
        let (at, digest) = (self.at, self.digest.clone());
        let damaged = || BadBackup::Damaged { at };
        match self.frame()? {
            (b'R', frame) => {
                let rows = Rows(frame);
                let mut count = 0;
                let known = rows.each::<BadBackup>(|_, _, _| {
                    count += 1;
                    Ok(())
                })?;
                self.rows += count;
                if known { Ok(Part::Rows(rows)) } else { Err(damaged()) }
            }
            (b'E', frame) => {
                let (rows, expected): (u64, &minicbor::bytes::ByteSlice) =
                    minicbor::decode(&frame).map_err(|_| damaged())?;
                let is_whole = rows == self.rows && **expected == *digest.finish().as_ref();
                // Nothing comes after it.
                if is_whole && self.from.read(&mut [0])? == 0 { Ok(Part::End) } else { Err(damaged()) }
            }
            _ => Err(damaged()),
        }
    }

    /// The bytes that were read.
    pub(in crate::store) fn at(&self) -> u64 {
        self.at
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), BadBackup> {
        let at = self.at;
        let damaged = || BadBackup::Damaged { at };
        let (mut length, mut checksum) = ([0; 4], [0; 4]);
        self.take(&mut length)?;
        self.take(&mut checksum)?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(damaged());
        }
        let mut frame = vec![0; length];
        self.take(&mut frame)?;
        if crc32fast::hash(&frame) != u32::from_le_bytes(checksum) {
            return Err(damaged());
        }
        let kind = frame.remove(0);
        Ok((kind, frame))
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), BadBackup> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BadBackup::Cut,
            _ => BadBackup::Io(error),
        })?;
        self.digest.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Reads what is a backup perhaps; and what it holds, cut at zeros, as the frames of one.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    let read = |bytes: &[u8]| {
        let (mut reader, _) = Reader::begin(bytes)?;
        let mut rows = 0_u64;
        while let Part::Rows(part) = reader.next()? {
            let known = part.each::<BadBackup>(|_, _, _| {
                rows += 1;
                Ok(())
            });
            assert!(known?, "what was counted is fed");
        }
        assert_eq!(reader.at(), bytes.len() as u64, "all of it was read");
        Ok::<_, BadBackup>(rows)
    };
    let _ = read(data);
    let mut made = Vec::new();
    let mut writer = Writer { out: &mut made, digest: Context::new(&SHA256), frame: Vec::new(), table: None, rows: 0 };
    writer.put(MAGIC).expect("writing to memory cannot fail");
    for frame in data.split(|byte| *byte == b'\n').filter(|frame| !frame.is_empty()) {
        writer.frame.extend_from_slice(frame);
        writer.end_frame().expect("writing to memory cannot fail");
    }
    writer.end().expect("writing to memory cannot fail");
    let _ = read(&made);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Vec<u8> {
        let mut bytes = Vec::new();
        let head = Head::new(5, Timestamp(7), KeyId(9), false, None);
        let mut writer = Writer::begin(&mut bytes, &head).unwrap();
        writer.row("one", b"a", Some(b"1")).unwrap();
        writer.row("two", b"a", Some(&vec![0; FRAME_BYTES])).unwrap();
        writer.row("two", b"b", Some(b"")).unwrap();
        writer.row("one", b"a", None).unwrap();
        assert_eq!(writer.end().unwrap(), 4);
        bytes
    }

    type Row = (String, Vec<u8>, Option<usize>);

    fn read(bytes: &[u8]) -> Result<Vec<Row>, BadBackup> {
        let (mut reader, head) = Reader::begin(bytes)?;
        assert_eq!(head, Head::new(5, Timestamp(7), KeyId(9), false, None));
        let mut found = Vec::new();
        while let Part::Rows(rows) = reader.next()? {
            let known = rows.each::<BadBackup>(|table, key, value| {
                found.push((table.to_owned(), key.to_vec(), value.map(<[u8]>::len)));
                Ok(())
            })?;
            assert!(known);
        }
        Ok(found)
    }

    #[test]
    fn rows_come_back_in_their_order() {
        let row = |table: &str, key: &[u8], value| (table.to_owned(), key.to_vec(), value);
        let expected = [
            row("one", b"a", Some(1)),
            row("two", b"a", Some(FRAME_BYTES)),
            row("two", b"b", Some(0)),
            row("one", b"a", None),
        ];
        assert_eq!(read(&backup()).unwrap(), expected);
    }

    #[test]
    fn a_backup_that_is_cut_or_changed_anywhere_is_refused() {
        let good = backup();
        let near = |at: &usize| *at < 300 || *at > good.len() - 300 || at.is_multiple_of(4099);
        for at in (0..good.len()).filter(near) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(read(&bad).is_err(), "byte {at} changed");
            assert!(matches!(read(&good[..at]), Err(BadBackup::Cut | BadBackup::NotOne)), "cut at {at}");
        }
        let longer = [&good[..], b"x"].concat();
        assert!(matches!(read(&longer), Err(BadBackup::Damaged { .. })));
        let newer = [b"hydrophone backup 2\n", &good[20..]].concat();
        assert!(matches!(read(&newer), Err(BadBackup::Newer(_))));
        assert!(matches!(read(b"PK\x03\x04 something else"), Err(BadBackup::NotOne)));
    }
}
