//! `TZif` files, versions 1 to 4 (RFC 9636): a zone's past transitions and the rule for its future.
//!
//! Any bytes are parsed or refused without a panic, in memory of at most a few times their length. The
//! transitions in Debian's `right/` files count leap seconds; they are converted to instants that don't.

use crate::tz::posix::Rule;

/// Bytes in a header (RFC 9636 §3.1).
const HEADER: usize = 44;

/// Seconds from UTC. RFC 9636 §3.2 allows offsets of less than 25 hours west and 26 hours east.
const OFFSET_LIMIT: i32 = 26 * 3600;

/// What is wrong with a file, as a sentence about `it`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// A zone's offsets from UTC over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Instants in ascending order, each with the offset from then on.
    transitions: Vec<(i64, i32)>,
    /// The offset before the first transition.
    first: i32,
    /// Applies after the last transition.
    rule: Option<Rule>,
}

/// The six counts of a header, in its order: UT/local indicators, standard/wall indicators, leap seconds,
/// transitions, local time types, characters of their names.
type Counts = [usize; 6];

impl History {
    /// Makes a history without a file: the first offset, the transitions after it, and the rule after those.
    pub fn new(first: i32, transitions: Vec<(i64, i32)>, rule: Option<Rule>) -> Self {
        Self { transitions, first, rule }
    }

    /// Parses a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (version, counts) = header(bytes)?;
        if version == 0 {
            return body(&bytes[HEADER..], &counts, 4).map(|(history, _)| history);
        }
        // The first block, with times of 32 bits, is for readers of version 1 (RFC 9636 §3).
        let second = bytes[HEADER..].get(length(&counts, 4)..).ok_or(Malformed("its first data block is cut off"))?;
        let (_, counts) = header(second)?;
        let (mut history, rest) = body(&second[HEADER..], &counts, 8)?;
        history.rule = footer(rest)?;
        Ok(history)
    }

    /// Returns the seconds east of UTC at an instant (seconds since 1970).
    pub fn offset_at(&self, instant: i64) -> i32 {
        let passed = self.transitions.partition_point(|(at, _)| *at <= instant);
        match (&self.rule, passed.checked_sub(1)) {
            (Some(rule), _) if passed == self.transitions.len() => rule.offset_at(instant),
            (_, Some(last)) => self.transitions[last].1,
            (_, None) => self.first,
        }
    }
}

/// Bytes in a data block whose times have `time` bytes. Counts are below 2³², so the sum fits 64 bits easily;
/// on a 32-bit machine a damaged one saturates.
fn length(counts: &Counts, time: usize) -> usize {
    let sizes = [1, 1, time + 4, time + 1, 6, 1];
    counts.iter().zip(sizes).fold(0, |sum, (count, size)| count.saturating_mul(size).saturating_add(sum))
}

/// Reads a header (RFC 9636 §3.1): the version, as 0 or a digit, and the counts.
fn header(bytes: &[u8]) -> Result<(u8, Counts), Malformed> {
    let header = bytes.get(..HEADER).ok_or(Malformed("it is shorter than a header"))?;
    if &header[..4] != b"TZif" {
        return Err(Malformed("it does not begin with TZif"));
    }
    let version = match header[4] {
        0 => 0,
        digit @ b'2'..=b'9' => digit,
        _ => return Err(Malformed("its version is unknown")),
    };
    let count =
        |index: usize| usize::try_from(u32::from_be_bytes(array(&header[20 + 4 * index..]))).unwrap_or(usize::MAX);
    Ok((version, [0, 1, 2, 3, 4, 5].map(count)))
}

/// Reads a data block (RFC 9636 §3.2) whose times have `time` bytes. Also returns the bytes after it.
fn body<'bytes>(bytes: &'bytes [u8], counts: &Counts, time: usize) -> Result<(History, &'bytes [u8]), Malformed> {
    let (block, rest) = bytes.split_at_checked(length(counts, time)).ok_or(Malformed("its data block is cut off"))?;
    let [_, _, leap_seconds, transitions, types, characters] = *counts;
    let (times, block) = block.split_at(transitions * time);
    let (indices, block) = block.split_at(transitions);
    let (types, block) = block.split_at(types * 6);
    let types = types.chunks_exact(6).map(|record| {
        let offset = i32::from_be_bytes(array(record));
        let is_sane = (-OFFSET_LIMIT..=OFFSET_LIMIT).contains(&offset);
        is_sane.then_some(offset).ok_or(Malformed("it has an offset of more than 26 hours"))
    });
    let types = types.collect::<Result<Vec<i32>, Malformed>>()?;
    let leap_seconds = block[characters..][..leap_seconds * (time + 4)].chunks_exact(time + 4);
    let leap_seconds = leap_seconds.map(|record| (seconds(record, time), i32::from_be_bytes(array(&record[time..]))));
    let leap_seconds = leap_seconds.collect::<Vec<(i64, i32)>>();
    let instants = times.chunks_exact(time).map(|record| without_leap_seconds(seconds(record, time), &leap_seconds));
    let mut transitions: Vec<(i64, i32)> = Vec::with_capacity(transitions);
    for (instant, index) in instants.zip(indices) {
        if transitions.last().is_some_and(|(before, _)| *before >= instant) {
            return Err(Malformed("its transitions are not in order"));
        }
        let offset = types.get(usize::from(*index)).ok_or(Malformed("it has a transition to an unknown type"))?;
        transitions.push((instant, *offset));
    }
    let first = types.first().copied().ok_or(Malformed("it has no local time type"))?;
    Ok((History { transitions, first, rule: None }, rest))
}

/// Reads a time of four or eight bytes.
fn seconds(record: &[u8], time: usize) -> i64 {
    match time {
        4 => i64::from(i32::from_be_bytes(array(record))),
        _ => i64::from_be_bytes(array(record)),
    }
}

/// Subtracts the leap seconds up to an instant that counts them. Each record has the total since its own instant.
fn without_leap_seconds(instant: i64, leap_seconds: &[(i64, i32)]) -> i64 {
    let passed = leap_seconds.partition_point(|(at, _)| *at <= instant);
    let count = passed.checked_sub(1).map_or(0, |latest| leap_seconds[latest].1);
    instant.saturating_sub(count.into())
}

/// Reads the footer (RFC 9636 §3.3): a POSIX TZ string, or nothing, between two newlines.
fn footer(bytes: &[u8]) -> Result<Option<Rule>, Malformed> {
    let cut = Malformed("its footer is cut off");
    let rest = bytes.strip_prefix(b"\n").ok_or(cut)?;
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(cut)?;
    let text = std::str::from_utf8(&rest[..end]).map_err(|_| cut)?;
    if text.is_empty() {
        return Ok(None);
    }
    Rule::parse(text).map(Some).ok_or(Malformed("its footer is not a POSIX TZ string"))
}

/// The first bytes of a slice that is long enough; zeroes otherwise, rather than a panic.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}
