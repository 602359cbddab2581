//! Standard output, for a pipe or a demonstration.

use crate::notifier::{Capacity, Digest, Service, Setup, Unit};
use crate::toml::Section;

/// A pipe has no limit. This one bounds memory.
pub const CAPACITY: Capacity = Capacity { limit: 32 * 1024, unit: Unit::Bytes, around: 0, per_line: 1 };

/// Reads no settings.
#[expect(clippy::unnecessary_wraps, reason = "other services' settings can have mistakes")]
pub fn configure(_: &mut Section<'_>) -> Option<Setup> {
    Some(Setup::new(Service::Stdout, None, Vec::new()))
}

/// Writes one line for each notice.
pub fn render(digest: &Digest<'_>) -> String {
    digest.lines("") + "\n"
}
