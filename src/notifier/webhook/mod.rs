//! A webhook of somebody's own: one POST with the report of every event (docs/services.md).

use crate::http::{Response, Url};
use crate::notifier::outcome::Reading;
use crate::notifier::{Capacity, Service, Setup, Unit, report};
use crate::toml::Section;

/// Standard Webhooks advises to stay below 20 kB. Around the reports are brackets, between them commas.
pub const CAPACITY: Capacity = Capacity { limit: 20_000, unit: Unit::Bytes, around: 2, per_line: 1 };
const _: () = assert!(CAPACITY.around + CAPACITY.per_line + report::LONGEST <= CAPACITY.limit);

/// Reads `url`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let found = section.required("url", Section::secret)?;
    let url = Url::configure(section, "url", &found)?;
    Some(Setup::new(Service::Webhook, Some(url), vec![found.value]))
}

/// Any 2xx says that the receiver has the message.
pub fn read(response: &Response) -> Reading {
    Reading { is_taken: (200..300).contains(&response.status), ..Reading::default() }
}
