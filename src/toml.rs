//! Walks a TOML document by sections and keys, and collects every mistake with file and line.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, TableLike};

use crate::error::{Error, Kind};
use crate::files::{self, Links};
use crate::text::Secret;

/// Bytes of a file that holds a secret in its first line.
const SECRET_LIMIT: u64 = 64 * 1024;

/// The text of one configuration file, and the mistakes found in it so far.
pub struct Reader<'t> {
    file: &'t Path,
    text: &'t str,
    mistakes: RefCell<Vec<(usize, String)>>,
}

/// A value and its line, for a mistake that is noticed later.
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

/// One table of the file. It remembers which keys were read: all others are mistakes.
pub struct Section<'t> {
    reader: &'t Reader<'t>,
    name: String,
    line: usize,
    table: Option<&'t dyn TableLike>,
    known: Vec<String>,
}

impl<'t> Reader<'t> {
    /// Reads a text that came from `file`.
    pub fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, mistakes: RefCell::default() }
    }

    /// Parses the text. `None`: it is not TOML, which is noted as a mistake.
    pub fn parse(&self) -> Option<Document<&'t str>> {
        // The error's own Display quotes the line, which may hold a token: use only message and line.
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

    /// Whether a mistake was noted so far.
    pub fn has_mistakes(&self) -> bool {
        !self.mistakes.borrow().is_empty()
    }

    /// Returns what was read, or [`Kind::Config`] with every mistake in the order of the lines.
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
    pub fn section(&mut self, key: &str) -> Section<'t> {
        let name = self.full_name(key);
        let mut section = Self { reader: self.reader, name, line: self.line, table: None, known: Vec::new() };
        if let Some((line, item)) = self.item(key) {
            section.line = line;
            section.table = item.as_table_like();
            if section.table.is_none() {
                section.refuse("must be a section");
            }
        }
        section
    }

    /// The names of the tables within this one, in the file's order.
    pub fn tables(&self) -> Vec<&'t str> {
        let items = self.table.iter().flat_map(|table| table.iter());
        items.filter(|(_, item)| item.is_table_like()).map(|(key, _)| key).collect()
    }

    /// Whether the file has this section.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the section has this key.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A string; it may be empty.
    pub fn string(&mut self, key: &str) -> Option<Found<String>> {
        let (line, item) = self.item(key)?;
        match item.as_str() {
            Some(text) => Some(Found { value: text.into(), line }),
            None => self.wrong(line, key, "must be a string"),
        }
    }

    /// A string that may not be missing or empty.
    pub fn required(&mut self, key: &str) -> Option<Found<String>> {
        if !self.has(key) {
            return self.missing(key);
        }
        let found = self.string(key)?;
        if found.value.is_empty() { self.wrong(found.line, key, "must not be empty") } else { Some(found) }
    }

    /// A string or an array of strings, with the line of each.
    pub fn strings(&mut self, key: &str) -> Option<Vec<Found<String>>> {
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

    /// A string or an array of strings that may not be missing or empty.
    pub fn required_strings(&mut self, key: &str) -> Option<Vec<Found<String>>> {
        if !self.has(key) {
            return self.missing(key);
        }
        let found = self.strings(key)?;
        let (line, _) = self.item(key)?;
        if found.is_empty() { self.wrong(line, key, "must not be empty") } else { Some(found) }
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let (line, item) = self.item(key)?;
        match item.as_integer() {
            Some(number) if range.contains(&number) => Some(number),
            _ => self.wrong(line, key, &format!("must be a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// An absolute path.
    pub fn path(&mut self, key: &str, kind: PathKind) -> Option<PathBuf> {
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
    pub fn secret(&mut self, key: &str) -> Option<Found<Secret>> {
        let key_file = format!("{key}_file");
        let (inline, file) = (self.string(key), self.string(&key_file));
        match (inline, file) {
            (Some(_), Some(file)) => {
                self.wrong(file.line, &key_file, &format!("stands beside {key}: give one of them"))
            }
            (Some(inline), None) => Some(Found { value: Secret::new(inline.value), line: inline.line }),
            (None, Some(file)) if !Path::new(&file.value).is_absolute() => {
                // Not shown: it may be the secret itself.
                self.wrong(file.line, &key_file, "must be the absolute path of a file that holds the secret")
            }
            (None, Some(file)) => match first_line(Path::new(&file.value)) {
                Ok(text) => Some(Found { value: Secret::new(text), line: file.line }),
                Err(why) => self.wrong(file.line, &key_file, &format!("cannot be used: {why}")),
            },
            (None, None) => None,
        }
    }

    /// A secret that may not be missing or empty.
    pub fn required_secret(&mut self, key: &str) -> Option<Found<Secret>> {
        let key_file = format!("{key}_file");
        if !self.has(key) && !self.has(&key_file) {
            self.known.push(key_file);
            return self.missing(key);
        }
        let found = self.secret(key)?;
        if found.value.reveal().is_empty() { self.wrong(found.line, key, "must not be empty") } else { Some(found) }
    }

    /// Turns a value into what it stands for, or notes why that cannot be done.
    pub fn check<T, U, E: fmt::Display>(
        &self,
        key: &str,
        found: &Found<T>,
        parse: impl FnOnce(&T) -> Result<U, E>,
    ) -> Option<U> {
        parse(&found.value).map_err(|what| self.mistake(found, key, what)).ok()
    }

    /// Notes a mistake in the value of `key`.
    pub fn mistake<T>(&self, found: &Found<T>, key: &str, what: impl fmt::Display) {
        self.reader.push(found.line, &format!("{} {what}", self.full_name(key)));
    }

    /// Notes a mistake in the section itself.
    pub fn refuse(&self, what: impl fmt::Display) {
        self.reader.push(self.line, &format!("{} {what}", self.name));
    }

    /// Notes every key that was not read.
    pub fn finish(self) {
        for (key, item) in self.table.iter().flat_map(|table| table.iter()) {
            if !self.known.iter().any(|known| known == key) {
                let kind = if item.is_table_like() || item.is_array_of_tables() { "section" } else { "setting" };
                let line = self.line_of(key, item);
                self.reader.push(line, &format!("{} is not a {kind}", self.full_name(key)));
            }
        }
    }

    fn item(&mut self, key: &str) -> Option<(usize, &'t Item)> {
        self.known.push(key.into());
        let item = self.table?.get(key)?;
        Some((self.line_of(key, item), item))
    }

    fn line_of(&self, key: &str, item: &Item) -> usize {
        let key = self.table.and_then(|table| table.get_key_value(key)).and_then(|(key, _)| key.span());
        self.reader.line(key.or_else(|| item.span()))
    }

    fn missing<T>(&mut self, key: &str) -> Option<T> {
        self.known.push(key.into());
        self.wrong(self.line, key, "is missing")
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
    let (bytes, _) = files::read(path, SECRET_LIMIT, Links::Follow).map_err(Error::file("read", path))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_| Error::file("read", path)(io::Error::other("not UTF-8")))?;
    Ok(line.trim().into())
}
