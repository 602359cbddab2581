//! A database as its last commit left it, read without `SQLite`: the pages and rows that a glance at
//! the queue needs. The sections named below are those of sqlite.org/fileformat2.html.
//!
//! Nothing is answered that is not certain: `None` stands for whatever is damaged, unusual or busy, and
//! is a question for `SQLite`. Nothing is ever written.

use std::borrow::Cow;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::queue::schema::{VERSION, beside};

/// The bytes of the file that whoever has it open has locked: those behind the first 2^30 (§1.4) and
/// two more, `SHARED_FIRST` in `SQLite`'s source. Nobody else can lock them while this is done.
const SHARED_FIRST: libc::off_t = 0x4000_0002;
const SHARED_SIZE: libc::off_t = 510;

/// Bytes of a write-ahead log that are read; it is kept far shorter.
const LOG_LIMIT: u64 = 1 << 20;

/// Bytes of headers: of the database (§1.3), the log (§4.1), and each page in the log (§4.1).
const HEADER: usize = 100;
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Levels of a tree of pages; with the smallest pages, five hold more events than a disk.
const DEPTH_LIMIT: usize = 8;

/// The database, locked until this is dropped.
pub struct Image {
    database: File,
    page_size: usize,
    /// How many pages there are.
    count: u32,
    log: Log,
    /// The first page.
    first: Vec<u8>,
}

/// A write-ahead log.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    /// The page that each frame has, up to the last commit.
    frames: Vec<u32>,
    /// How many pages the database has since that commit.
    count: u32,
}

/// One page of a tree (§1.6).
pub struct Page<'i> {
    bytes: Cow<'i, [u8]>,
    /// Where its header is: on the first page, behind the database's.
    start: usize,
}

/// What a page is (§1.6): a branch has the numbers of other pages, a leaf has rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    TableBranch = 5,
    IndexLeaf = 10,
    TableLeaf = 13,
}

/// A column's value (§2.1), if it is of a kind that matters here.
#[derive(Clone, Copy)]
pub enum Value<'r> {
    /// An integer.
    Number(i64),
    /// Text in UTF-8.
    Text(&'r [u8]),
    /// Anything else.
    Other,
}

impl Image {
    /// Locks the database and reads its log. Not while this process has it open in `SQLite`, too: to
    /// close a file gives up every lock on it (fcntl(2)).
    pub fn read(path: &Path) -> Option<Self> {
        // `SQLite` would look for the log beside the file that a link leads to.
        let database = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path).ok()?;
        lock(&database)?;
        let mut header = [0; HEADER];
        database.read_exact_at(&mut header, 0).ok()?;
        let page_size = page_size(&header)?;
        let log = Log::read(&beside(path, "-wal"), page_size)?;
        let mut image = Self { database, page_size, count: 1, log, first: Vec::new() };
        image.first = image.bytes(1)?.into_owned();
        image.count = image.check(path)?;
        Some(image)
    }

    /// Examines the header as the last commit left it (§1.3), and whether something is to be rolled back.
    /// Answers how many pages there are.
    fn check(&self, path: &Path) -> Option<u32> {
        let journal = beside(path, "-journal").metadata().map_or(0, |journal| journal.len());
        let in_file = self.database.metadata().ok()?.len() / self.page_size as u64;
        let header = &self.first;
        let count = number(header, 28)?;
        let is_there = u64::from(count) <= if self.log.frames.is_empty() { in_file } else { self.log.count.into() };
        // The versions are 2 where there is a write-ahead log, 1 where there is none. No bytes of a page
        // are set aside, the count of pages is of the last change, and text is UTF-8.
        let is_usual = header.starts_with(b"SQLite format 3\0")
            && page_size(header)? == self.page_size
            && (header[18..20] == [2, 2] || header[18..20] == [1, 1] && self.log.bytes.is_empty())
            && header[20..24] == [0, 64, 32, 32]
            && header[24..28] == header[92..96]
            && number(header, 44)? == 4
            && number(header, 56)? == 1
            && i64::from(number(header, 60)?) == VERSION;
        (journal == 0 && is_there && is_usual).then_some(count)
    }

    /// A page of a tree.
    pub fn page(&self, number: u32) -> Option<Page<'_>> {
        match number {
            1 => Some(Page { bytes: Cow::Borrowed(&self.first), start: HEADER }),
            number => self.bytes(number).map(|bytes| Page { bytes, start: 0 }),
        }
    }

    /// Reads a page out of the log, if it was changed there, or out of the database.
    fn bytes(&self, number: u32) -> Option<Cow<'_, [u8]>> {
        let above = number.checked_sub(1).filter(|_| number <= self.count)?;
        if let Some(frame) = self.log.frames.iter().rposition(|page| *page == number) {
            let at = LOG_HEADER + frame * (FRAME_HEADER + self.page_size) + FRAME_HEADER;
            return self.log.bytes.get(at..at + self.page_size).map(Cow::Borrowed);
        }
        let mut bytes = vec![0; self.page_size];
        self.database.read_exact_at(&mut bytes, u64::from(above) * self.page_size as u64).ok()?;
        Some(Cow::Owned(bytes))
    }

    /// The leaves of a small table: of one branch at most.
    pub fn leaves(&self, root: u32) -> Option<Vec<Page<'_>>> {
        let page = self.page(root)?;
        if !page.is(Kind::TableBranch) {
            return Some(vec![page]);
        }
        let mut leaves = Vec::new();
        for cell in page.cells(12)? {
            leaves.push(self.page(number(cell?, 0)?)?);
        }
        leaves.push(self.page(page.last_child()?)?);
        Some(leaves)
    }

    /// The largest row id of a table, which is the last; 0 when it is empty.
    pub fn last_row(&self, root: u32) -> Option<i64> {
        let mut page = self.page(root)?;
        for level in 0..DEPTH_LIMIT {
            if page.is(Kind::TableBranch) {
                page = self.page(page.last_child()?)?;
                continue;
            }
            return match page.rows()?.next_back() {
                None => (level == 0).then_some(0),
                Some(row) => Some(row?.0),
            };
        }
        None
    }
}

impl Log {
    /// Reads a log up to its last commit (§4.1 to §4.4); one that isn't there is empty.
    fn read(path: &Path, page_size: usize) -> Option<Self> {
        // Not what a link leads to, and without a wait for the other end of a pipe.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Some(Self::default()),
            file => file.ok()?,
        };
        let length = file.metadata().ok().filter(Metadata::is_file)?.len();
        if length == 0 || length > LOG_LIMIT {
            return (length == 0).then(Self::default);
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let mut log = Self::default();
        let (header, rest) = bytes.split_at_checked(LOG_HEADER)?;
        let (magic, version) = (number(header, 0)?, number(header, 4)?);
        let is_big = magic & 1 == 1;
        let mut sums = checksum([0, 0], &header[..24], is_big);
        let is_whole = sums == [number(header, 24)?, number(header, 28)?];
        if !is_whole || magic & !1 != 0x377f_0682 || version != 3_007_000 || number(header, 8)? as usize != page_size {
            return None;
        }
        let mut committed = 0;
        for frame in rest.chunks_exact(FRAME_HEADER + page_size) {
            let (head, page) = frame.split_at(FRAME_HEADER);
            let (page_number, count) = (number(head, 0)?, number(head, 4)?);
            sums = checksum(checksum(sums, &head[..8], is_big), page, is_big);
            // What is left of a log that was begun anew has another salt.
            let is_whole = head[8..16] == header[16..24] && sums == [number(head, 16)?, number(head, 20)?];
            if !is_whole || page_number == 0 {
                break;
            }
            log.frames.push(page_number);
            if count != 0 {
                (committed, log.count) = (log.frames.len(), count);
            }
        }
        log.frames.truncate(committed);
        Some(Self { bytes, ..log })
    }
}

impl Page<'_> {
    fn is(&self, kind: Kind) -> bool {
        self.bytes.get(self.start) == Some(&(kind as u8))
    }

    /// The cells of a page, by the array of their places behind its header (§1.6).
    fn cells(&self, header: usize) -> Option<impl DoubleEndedIterator<Item = Option<&[u8]>>> {
        // A cell and its place take six bytes at least.
        let most = (self.bytes.len() - 8) / 6;
        let count = short(&self.bytes, self.start + 3).map(usize::from).filter(|count| *count <= most)?;
        let places = self.bytes.get(self.start + header..)?.as_chunks::<2>().0.get(..count)?;
        Some(places.iter().map(|place| self.bytes.get(usize::from(u16::from_be_bytes(*place))..)))
    }

    /// The last page below a branch, which has another one at least.
    fn last_child(&self) -> Option<u32> {
        self.cells(12)?.next()?;
        number(&self.bytes, self.start + 8)
    }

    /// The rows of a table's leaf, each with its id.
    pub fn rows(&self) -> Option<impl DoubleEndedIterator<Item = Option<(i64, &[u8])>>> {
        let longest = self.bytes.len() - 35;
        let cells = self.cells(8).filter(|_| self.is(Kind::TableLeaf))?;
        Some(cells.map(move |cell| {
            let (length, rest) = varint(cell?)?;
            let (id, rest) = varint(rest)?;
            Some((id.cast_signed(), payload(rest, length, longest)?))
        }))
    }

    /// The rows of an index's leaf, which is what a table without row ids is.
    pub fn entries(&self) -> Option<impl Iterator<Item = Option<&[u8]>>> {
        let longest = (self.bytes.len() - 12) * 64 / 255 - 23;
        let cells = self.cells(8).filter(|_| self.is(Kind::IndexLeaf))?;
        Some(cells.map(move |cell| {
            let (length, rest) = varint(cell?)?;
            payload(rest, length, longest)
        }))
    }
}

/// The bytes of a row; what is longer goes on in other pages (§1.6).
fn payload(bytes: &[u8], length: u64, longest: usize) -> Option<&[u8]> {
    bytes.get(..usize::try_from(length).ok().filter(|length| *length <= longest)?)
}

/// The first five columns of a row (§2.1).
pub fn columns(row: &[u8]) -> Option<[Value<'_>; 5]> {
    let (length, _) = varint(row)?;
    let (header, mut body) = row.split_at_checked(usize::try_from(length).ok()?)?;
    let (_, mut kinds) = varint(header)?;
    let mut values = [Value::Other; 5];
    for value in &mut values {
        let (kind, rest) = varint(kinds)?;
        kinds = rest;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let (bytes, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
        body = rest;
        *value = match kind {
            1..=6 => Value::Number(integer(bytes)),
            8 => Value::Number(0),
            9 => Value::Number(1),
            13.. if kind % 2 == 1 => Value::Text(bytes),
            _ => Value::Other,
        };
    }
    // Behind the last column nothing may be left.
    (!kinds.is_empty() || body.is_empty()).then_some(values)
}

/// Locks everybody else out, or answers `None` if somebody has the database open.
fn lock(database: &File) -> Option<()> {
    let lock = libc::flock {
        l_type: libc::F_WRLCK.try_into().ok()?,
        l_whence: libc::SEEK_SET.try_into().ok()?,
        l_start: SHARED_FIRST,
        l_len: SHARED_SIZE,
        l_pid: 0,
    };
    fcntl(database, FcntlArg::F_SETLK(&lock)).ok().map(|_| ())
}

/// Goes on with a checksum (§4.2).
fn checksum(sums: [u32; 2], bytes: &[u8], is_big: bool) -> [u32; 2] {
    let word = |word: &[u8; 4]| if is_big { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) };
    bytes.as_chunks::<4>().0.as_chunks::<2>().0.iter().fold(sums, |[first, second], [one, other]| {
        let first = first.wrapping_add(word(one)).wrapping_add(second);
        [first, second.wrapping_add(word(other)).wrapping_add(first)]
    })
}

/// The bytes of a page, of which a header tells (§1.3).
fn page_size(header: &[u8]) -> Option<usize> {
    match short(header, 16)? {
        1 => Some(1 << 16),
        size => Some(usize::from(size)).filter(|size| *size >= 512 && size.is_power_of_two()),
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// Four bytes as a number, the highest first, as all numbers in these files.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// A number of one to eight bytes.
fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { -1 } else { 0 };
    bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

/// A number of one to nine bytes, and what is behind it (§1.6).
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        if index == 8 {
            return Some((number << 8 | u64::from(*byte), &bytes[9..]));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if *byte < 0x80 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}
