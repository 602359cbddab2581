//! Standard output, for a look, a pipe or a demonstration.

use crate::notifier::{Capacity, Digest, Service, Setup, Unit};
use crate::toml::Section;

/// A pipe has no limit. This one bounds what is in memory at a time.
pub const CAPACITY: Capacity = Capacity { limit: 32 * 1024, unit: Unit::Bytes, around: 0, per_line: 1 };

/// Needs no settings.
#[expect(clippy::unnecessary_wraps, reason = "other services can lack a setting")]
pub fn configure(_: &mut Section<'_>) -> Option<Setup> {
    Some(Setup::new(Service::Stdout, None, Vec::new()))
}

/// Writes one line a notice.
pub fn render(digest: &Digest<'_>) -> String {
    digest.lines("") + "\n"
}
