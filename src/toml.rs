//! Walks a TOML document by sections and keys, and collects every mistake with file and line.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, TableLike};

use crate::error::{Error, Kind};
use crate::http::Address;
use crate::text::Secret;

/// Bytes read of a file that holds one secret: a token or an address.
const SECRET_LIMIT: u64 = 4096;

/// The text of one configuration file, and the mistakes found in it so far.
pub struct Reader<'t> {
    file: &'t Path,
    text: &'t str,
    mistakes: RefCell<Vec<(usize, String)>>,
}

/// A value and the place where it stands, for a mistake that is noticed later.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    line: usize,
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A file in a directory of its own.
    File,
    /// Any file or directory.
    Directory,
}

/// One table of the file. It remembers which keys were asked for: all others are mistakes.
pub struct Section<'t> {
    reader: &'t Reader<'t>,
    name: String,
    line: usize,
    table: Option<&'t dyn TableLike>,
    known: Vec<&'static str>,
}

impl<'t> Reader<'t> {
    /// Reads a text that came from `file`.
    pub fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, mistakes: RefCell::default() }
    }

    /// Parses the text; what is not TOML is a mistake, and nothing else can be read then.
    pub fn parse(&self) -> Option<Document<&'t str>> {
        // The error's own Display quotes the line, and so perhaps a token: only message and line.
        Document::parse(self.text)
            .map_err(|why| {
                let message = why.message().replace('\n', ", ");
                self.push(self.line(why.span()), &format!("this is not TOML: {message}"));
            })
            .ok()
    }

    /// The file's top level.
    pub fn root(&'t self, document: &'t Document<&'t str>) -> Section<'t> {
        Section { reader: self, name: String::new(), line: 1, table: Some(document.as_table()), known: Vec::new() }
    }

    /// What was read, or [`Kind::Config`] with every mistake, in the order of the lines.
    pub fn finish<T>(&self, value: Option<T>) -> Result<T, Error> {
        let mut mistakes = self.mistakes.take();
        mistakes.sort_by_key(|(line, _)| *line);
        match value {
            Some(value) if mistakes.is_empty() => Ok(value),
            _ => Err(Kind::Config(mistakes.into_iter().map(|(_, text)| text).collect()).into()),
        }
    }

    fn push(&self, line: usize, what: &str) {
        self.mistakes.borrow_mut().push((line, format!("{}:{line}: {what}", self.file.display())));
    }

    fn line(&self, span: Option<Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start).min(self.text.len());
        1 + self.text.as_bytes()[..start].split(|byte| *byte == b'\n').count() - 1
    }
}

impl<'t> Section<'t> {
    /// The table `key` within this one; a missing table is an empty one.
    pub fn section(&mut self, key: &'static str) -> Section<'t> {
        let name = self.full_name(key);
        let mut section = Self { reader: self.reader, name, line: self.line, table: None, known: Vec::new() };
        if let Some((line, item)) = self.item(key) {
            section.line = line;
            section.table = item.as_table_like();
            if section.table.is_none() {
                self.reader.push(line, &format!("{} must be a section", section.name));
            }
        }
        section
    }

    /// Whether the file has this section.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// A string; the empty one is a value too.
    pub fn string(&mut self, key: &'static str) -> Option<Found<String>> {
        let (line, item) = self.item(key)?;
        match item.as_str() {
            Some(text) => Some(Found { value: text.into(), line }),
            None => self.wrong(line, key, "must be a string"),
        }
    }

    /// A string that may not be missing or empty.
    pub fn required(&mut self, key: &'static str) -> Option<Found<String>> {
        if self.table.is_none_or(|table| table.get(key).is_none()) {
            self.known.push(key);
            return self.wrong(self.line, key, "is missing");
        }
        let found = self.string(key)?;
        if found.value.is_empty() { self.wrong(found.line, key, "must not be empty") } else { Some(found) }
    }

    /// A string or an array of strings, with the line of each.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<Found<String>>> {
        let (line, item) = self.item(key)?;
        if let Some(text) = item.as_str() {
            return Some(vec![Found { value: text.into(), line }]);
        }
        let Some(array) = item.as_array() else { return self.wrong(line, key, "must be a string or an array of them") };
        let mut found = Vec::new();
        for value in array {
            let line = self.reader.line(value.span());
            match value.as_str() {
                Some(text) => found.push(Found { value: text.into(), line }),
                None => return self.wrong(line, key, "must hold strings only"),
            }
        }
        Some(found)
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let (line, item) = self.item(key)?;
        match item.as_integer() {
            Some(number) if range.contains(&number) => Some(number),
            _ => self.wrong(line, key, &format!("must be a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// An absolute path.
    pub fn path(&mut self, key: &'static str, kind: PathKind) -> Option<PathBuf> {
        let found = self.string(key)?;
        let path = PathBuf::from(&found.value);
        let has_home = path.parent().is_some_and(|parent| parent != Path::new("/")) && path.file_name().is_some();
        if path.is_absolute() && !found.value.contains('\0') && (has_home || kind == PathKind::Directory) {
            return Some(path);
        }
        let what = match kind {
            PathKind::File => "must be an absolute path in a directory of its own",
            PathKind::Directory => "must be an absolute path",
        };
        self.mistake(&found, key, what);
        None
    }

    /// A secret: `key` itself, or the first line of the file that `key_file` names.
    pub fn secret(&mut self, key: &'static str, key_file: &'static str) -> Option<Found<Secret>> {
        let (inline, file) = (self.string(key), self.string(key_file));
        match (inline, file) {
            (Some(_), Some(file)) => self.wrong(file.line, key_file, &format!("stands beside {key}: give one of them")),
            (Some(inline), None) => Some(Found { value: Secret::new(inline.value), line: inline.line }),
            (None, Some(file)) if !Path::new(&file.value).is_absolute() => {
                // Not shown: it may be the secret itself.
                self.wrong(file.line, key_file, "must be the absolute path of a file that holds the secret")
            }
            (None, Some(file)) => match first_line(Path::new(&file.value)) {
                Ok(text) => Some(Found { value: Secret::new(text), line: file.line }),
                Err(why) => self.wrong(file.line, key_file, &format!("cannot be used: {why}")),
            },
            (None, None) => None,
        }
    }

    /// A secret that may not be missing or empty.
    pub fn required_secret(&mut self, key: &'static str, key_file: &'static str) -> Option<Found<Secret>> {
        let is_given = |key| self.table.is_some_and(|table| table.get(key).is_some());
        if !is_given(key) && !is_given(key_file) {
            self.known.extend([key, key_file]);
            return self.wrong(self.line, key, "is missing");
        }
        let found = self.secret(key, key_file)?;
        if found.value.reveal().is_empty() { self.wrong(found.line, key, "must not be empty") } else { Some(found) }
    }

    /// Checks an address that holds a secret; a mistake tells what is wrong, not what it is.
    pub fn address(&self, key: &str, found: &Found<Secret>) -> Option<Secret> {
        match Address::parse(found.value.reveal()) {
            Err(what) => {
                self.mistake(found, key, what);
                None
            }
            Ok(address) if address.is_secure && !cfg!(feature = "tls") => {
                let what = "begins with https://, and this build has no TLS: use the build with the feature `tls`";
                self.mistake(found, key, what);
                None
            }
            Ok(_) => Some(found.value.clone()),
        }
    }

    /// Notes a mistake in the value of `key`.
    pub fn mistake<T>(&self, found: &Found<T>, key: &str, what: impl fmt::Display) {
        self.reader.push(found.line, &format!("{} {what}", self.full_name(key)));
    }

    /// Notes every key that nobody asked for.
    pub fn finish(self) {
        for (key, item) in self.table.iter().flat_map(|table| table.iter()) {
            if !self.known.contains(&key) {
                let kind = if item.is_table_like() || item.is_array_of_tables() { "section" } else { "setting" };
                let line = self.line_of(key, item);
                self.reader.push(line, &format!("{} is not a {kind}", self.full_name(key)));
            }
        }
    }

    fn item(&mut self, key: &'static str) -> Option<(usize, &'t Item)> {
        self.known.push(key);
        let item = self.table?.get(key)?;
        Some((self.line_of(key, item), item))
    }

    fn line_of(&self, key: &str, item: &Item) -> usize {
        let key = self.table.and_then(|table| table.get_key_value(key)).and_then(|(key, _)| key.span());
        self.reader.line(key.or_else(|| item.span()))
    }

    fn wrong<T>(&self, line: usize, key: &str, what: &str) -> Option<T> {
        self.reader.push(line, &format!("{} {what}", self.full_name(key)));
        None
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }
}

fn first_line(path: &Path) -> Result<String, Error> {
    let file = fs::File::open(path).map_err(Error::file("read", path))?;
    let mut line = String::new();
    BufReader::new(file.take(SECRET_LIMIT)).read_line(&mut line).map_err(Error::file("read", path))?;
    Ok(line.trim().into())
}
