//! Reads a TOML document by sections and keys, and collects every mistake with its file and line.

mod secrets;

pub use secrets::{KnownSecret, root_secrets};

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, Offset, TableLike, Value};

use crate::error::{Error, Kind};
use crate::files;
use crate::text::Secret;
use crate::toml::secrets::text_of;
use crate::tz::{Written, days_from_civil};

/// The text of one configuration file, and the mistakes found in it so far.
pub struct Reader<'t> {
    file: &'t Path,
    text: &'t str,
    /// Where its lines end: each name of a long list has a line.
    ends: Vec<usize>,
    secrets: &'t [KnownSecret],
    mistakes: RefCell<Vec<(usize, String)>>,
    named: RefCell<Vec<PathBuf>>,
}

/// A value and its line, for a mistake that is found later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    line: usize,
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A file that has a directory of its own.
    File,
    /// Any file or directory.
    Directory,
    /// A file that we read; a change to it counts as a change of the settings.
    Named,
}

/// One table of the file. It remembers which keys were read, because all others are mistakes.
pub struct Section<'t> {
    reader: &'t Reader<'t>,
    name: String,
    line: usize,
    table: Option<&'t dyn TableLike>,
    known: Vec<String>,
}

impl<'t> Reader<'t> {
    /// A reader of the text of `file`. As root, it reads no other file that the text names, except a secret that only
    /// root could have put there.
    pub fn new(file: &'t Path, text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { file, text, ends, secrets: &[], mistakes: RefCell::default(), named: RefCell::default() }
    }

    /// The same, with the secrets that root has already read.
    pub fn with_secrets(file: &'t Path, text: &'t str, secrets: &'t [KnownSecret]) -> Self {
        Self { secrets, ..Self::new(file, text) }
    }

    /// Parses the text. `None` if it isn't TOML, which is recorded as a mistake.
    pub fn parse(&self) -> Option<Document<&'t str>> {
        // The error's own Display quotes the line, which may hold a token: use only its message and line.
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

    /// The other files that the text names, as far as they were read.
    pub fn named(&self) -> Vec<PathBuf> {
        self.named.take()
    }

    /// Whether a mistake was found so far.
    pub fn has_mistakes(&self) -> bool {
        !self.mistakes.borrow().is_empty()
    }

    /// Returns `value`, or [`Kind::Config`] with every mistake in order of lines.
    pub fn finish<T>(&self, value: Option<T>) -> Result<T, Error> {
        let mut mistakes = self.mistakes.take();
        mistakes.sort_by_key(|(line, _)| *line);
        match value {
            Some(value) if mistakes.is_empty() => Ok(value),
            _ => Err(Kind::Config(mistakes.into_iter().map(|(_, text)| text).collect()).into()),
        }
    }

    fn secret_in(&self, path: &Path, part: fn(&str) -> &str) -> Result<Secret, String> {
        let read = || files::check_for_root(path).map_err(Error::file("read", path)).and_then(|()| text_of(path));
        let text = match self.secrets.iter().find(|(known, _)| known == path) {
            Some((_, known)) => known.as_ref().cloned().map_err(ToString::to_string),
            None => read().map_err(|why| why.to_string()),
        }?;
        let part = part(text.reveal()).trim();
        // Only what is used must be a text.
        if part.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Error::file("read", path)(io::Error::other("not UTF-8")).to_string());
        }
        Ok(Secret::new(part))
    }

    fn push(&self, line: usize, what: &str) {
        self.mistakes.borrow_mut().push((line, format!("{}:{line}: {what}", self.file.display())));
    }

    fn line(&self, span: Option<Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start);
        self.ends.partition_point(|end| *end < start) + 1
    }
}

impl<'t> Section<'t> {
    /// The table `key` in this one; a missing table is empty.
    pub fn section(&mut self, key: &str) -> Section<'t> {
        let (line, item) = self.item(key).map_or((self.line, None), |(line, item)| (line, Some(item)));
        let table = item.and_then(Item::as_table_like);
        let section = Self { reader: self.reader, name: self.full_name(key), line, table, known: Vec::new() };
        if item.is_some() && table.is_none() {
            section.refuse("must be a section");
        }
        section
    }

    /// The tables of an array (`[[rule]]`), at most `most`; none if the array is missing.
    pub fn sections(&mut self, key: &str, most: usize) -> Vec<Section<'t>> {
        let Some((line, item)) = self.item(key) else { return Vec::new() };
        let tables: Option<Vec<(_, &'t dyn TableLike)>> = match item.as_array_of_tables() {
            Some(tables) => Some(tables.iter().map(|table| (table.span(), table as _)).collect()),
            None => item.as_array().and_then(|array| {
                array.iter().map(|value| value.as_inline_table().map(|table| (table.span(), table as _))).collect()
            }),
        };
        let (reader, name) = (self.reader, self.full_name(key));
        let Some(tables) = tables else {
            self.wrong::<()>(line, key, format_args!("must be written as [[{name}]]"));
            return Vec::new();
        };
        if let Some((span, _)) = tables.get(most) {
            self.wrong::<()>(reader.line(span.clone()), key, format_args!("is one too many; the limit is {most}"));
        }
        let section = |(span, table): (_, _)| {
            let line = reader.line(span);
            Section { reader, name: name.clone(), line, table: Some(table), known: Vec::new() }
        };
        tables.into_iter().take(most).map(section).collect()
    }

    /// The line where the section begins.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The names of the tables in this one, in the file's order.
    pub fn tables(&self) -> Vec<&'t str> {
        let items = self.table.iter().flat_map(|table| table.iter());
        items.filter(|(_, item)| item.is_table_like()).map(|(key, _)| key).collect()
    }

    /// Whether the section has this key.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A setting that must be present and not empty: `section.required("name", Section::string)`
    pub fn required<T: Default + PartialEq>(
        &mut self,
        key: &str,
        read: fn(&mut Self, &str) -> Option<Found<T>>,
    ) -> Option<Found<T>> {
        let mistakes = self.reader.mistakes.borrow().len();
        match read(self, key) {
            Some(found) if found.value == T::default() => self.wrong(found.line, key, "must not be empty"),
            // Missing, rather than wrong.
            None if self.reader.mistakes.borrow().len() == mistakes => self.wrong(self.line, key, "is missing"),
            found => found,
        }
    }

    /// A string, perhaps empty.
    pub fn string(&mut self, key: &str) -> Option<Found<String>> {
        self.read(key, "must be a string", |item| item.as_str().map(String::from))
    }

    /// A string or an array of strings, with the line of each.
    pub fn strings(&mut self, key: &str) -> Option<Found<Vec<Found<String>>>> {
        let reader = self.reader;
        let one = |value: &Value| Some(Found { value: value.as_str()?.into(), line: reader.line(value.span()) });
        self.read(key, "must be a string or an array of them", |item| match item.as_array() {
            Some(array) => array.iter().map(one).collect(),
            None => item.as_value().and_then(one).map(|found| vec![found]),
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        self.read(key, "must be true or false", Item::as_bool).map(|found| found.value)
    }

    /// An integer within `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let what = format!("must be a whole number from {} to {}", range.start(), range.end());
        let found = self.read(key, &what, |item| item.as_integer().filter(|number| range.contains(number)));
        found.map(|found| found.value)
    }

    /// A date, with or without a time.
    pub fn date(&mut self, key: &str) -> Option<Written> {
        let read = |item: &Item| {
            let value = item.as_datetime()?;
            let date = value.date?;
            let seconds = value.time.map(|time| {
                i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0))
            });
            let offset = value.offset.map(|offset| match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i64::from(minutes) * 60,
            });
            Some(Written {
                days: days_from_civil(date.year.into(), date.month.into(), date.day.into()),
                seconds,
                offset,
            })
        };
        let what = "must be a date such as 2027-01-31, or one with a time, without quotes";
        self.read(key, what, read).map(|found| found.value)
    }

    /// An absolute path.
    pub fn path(&mut self, key: &str, kind: PathKind) -> Option<PathBuf> {
        let found = self.string(key)?;
        if kind == PathKind::Named {
            self.reader.named.borrow_mut().push(PathBuf::from(&found.value));
        }
        self.check(key, &found, |text| {
            let path = PathBuf::from(text);
            let has_home = path.parent().is_some_and(|parent| parent != Path::new("/")) && path.file_name().is_some();
            match kind {
                _ if !path.is_absolute() || text.contains('\0') => Err("must be an absolute path"),
                PathKind::File if !has_home => Err("must be an absolute path in a directory of its own"),
                PathKind::File | PathKind::Directory | PathKind::Named => Ok(path),
            }
        })
    }

    /// Makes a file that a value names part of the settings, so that a change to it counts as a change of them.
    #[cfg(feature = "command")]
    pub fn names_file(&self, path: &str) {
        self.reader.named.borrow_mut().push(PathBuf::from(path));
    }

    /// The absolute path of a program, or `true` for the usual one. `None` if it is missing or `false`.
    #[cfg(feature = "email")]
    pub fn program(&mut self, key: &str, usual: &str) -> Option<PathBuf> {
        let what = "must be true, or the absolute path of a program";
        let read = |item: &Item| match item.as_bool() {
            Some(is_wanted) => Some(is_wanted.then(|| usual.into())),
            None => item.as_str().filter(|path| path.starts_with('/')).map(|path| Some(path.into())),
        };
        self.read(key, what, read).and_then(|found| found.value)
    }

    /// A secret: `key` itself, or the first line of the file that `key_file` names.
    pub fn secret(&mut self, key: &str) -> Option<Found<Secret>> {
        self.secret_or_file(key, |text| text.lines().next().unwrap_or_default())
    }

    /// The same with all lines of the file.
    #[cfg(feature = "webhook")]
    pub fn secret_text(&mut self, key: &str) -> Option<Found<Secret>> {
        self.secret_or_file(key, |text| text)
    }

    /// The whole text of the file that the setting `key` names.
    #[cfg(feature = "webhook")]
    pub fn secret_file(&mut self, key: &str) -> Option<Found<Secret>> {
        let file = self.string(key)?;
        self.text_in(key, &file, |text| text)
    }

    /// The members of a table whose names are free, each with its line and the text of its value, in the file's order.
    #[cfg(feature = "webhook")]
    pub fn members(&mut self, key: &str) -> Vec<Found<(String, String)>> {
        let mut section = self.section(key);
        let keys: Vec<&str> = section.table.iter().flat_map(|table| table.iter()).map(|(key, _)| key).collect();
        let text = |item: &Item| {
            let number = || item.as_integer().map(|number| number.to_string());
            let boolean = || item.as_bool().map(|boolean| boolean.to_string());
            item.as_str().map(String::from).or_else(number).or_else(boolean)
        };
        let member = |key: &str| {
            let Found { value, line } = section.read(key, "must be a string, a whole number, true or false", text)?;
            Some(Found { value: (key.to_owned(), value), line })
        };
        keys.into_iter().filter_map(member).collect()
    }

    /// Converts a value, or records why that fails as a mistake.
    pub fn check<T, U, E: fmt::Display>(
        &self,
        key: &str,
        found: &Found<T>,
        parse: impl FnOnce(&T) -> Result<U, E>,
    ) -> Option<U> {
        match parse(&found.value) {
            Ok(value) => Some(value),
            Err(what) => self.wrong(found.line, key, what),
        }
    }

    /// Records a mistake in the section itself.
    pub fn refuse(&self, what: impl fmt::Display) {
        self.reader.push(self.line, &format!("{} {what}", self.name));
    }

    /// Records every key that was not read as a mistake.
    pub fn finish(self) {
        for (key, item) in self.table.iter().flat_map(|table| table.iter()) {
            if !self.known.iter().any(|known| known == key) {
                let kind = if item.is_table_like() || item.is_array_of_tables() { "section" } else { "setting" };
                self.wrong::<()>(self.line_of(key, item), key, format_args!("is not a {kind}"));
            }
        }
    }

    fn secret_or_file(&mut self, key: &str, part: fn(&str) -> &str) -> Option<Found<Secret>> {
        let key_file = format!("{key}_file");
        let inline = self.string(key);
        let Some(file) = self.string(&key_file) else {
            return inline.map(|Found { value, line }| Found { value: Secret::new(value), line });
        };
        if inline.is_some() {
            return self.wrong(file.line, &key_file, format_args!("conflicts with {key}; set only one of them"));
        }
        self.text_in(&key_file, &file, part)
    }

    /// Part of the text of a file whose change is a change of the settings.
    fn text_in(&self, key: &str, file: &Found<String>, part: fn(&str) -> &str) -> Option<Found<Secret>> {
        self.reader.named.borrow_mut().push(PathBuf::from(&file.value));
        let value = self.check(key, file, |path| match Path::new(path) {
            // Not shown: it may be the secret itself.
            path if !path.is_absolute() => Err("must be the absolute path of a file that holds the secret".into()),
            path => self.reader.secret_in(path, part).map_err(|why| format!("cannot be used: {why}")),
        })?;
        Some(Found { value, line: file.line })
    }

    fn read<T>(&mut self, key: &str, what: &str, parse: impl FnOnce(&Item) -> Option<T>) -> Option<Found<T>> {
        let (line, item) = self.item(key)?;
        parse(item).map(|value| Found { value, line }).or_else(|| self.wrong(line, key, what))
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

    /// Records a mistake in the value of `key`.
    fn wrong<T>(&self, line: usize, key: &str, what: impl fmt::Display) -> Option<T> {
        self.reader.push(line, &format!("{} {what}", self.full_name(key)));
        None
    }

    fn full_name(&self, key: &str) -> String {
        let joint = if self.name.is_empty() { "" } else { "." };
        format!("{}{joint}{}", self.name, key.escape_debug())
    }
}
