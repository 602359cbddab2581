//! The sessions as JSON. docs/json.md describes each member; changing a member's meaning requires a new version.

use crate::clock::Stamp;
use crate::command::log::History;
use crate::command::log::session::Session;
use crate::json::{array, boolean, object, optional, string};
use crate::text::Field;
use crate::tz::rfc3339;

/// The version of the format.
const VERSION: &str = "1";

/// Writes one object on one line.
pub fn write(history: &History<'_>, has_allowlist: bool, now: &Stamp) -> String {
    let sessions = history.sessions.iter().map(|session| one(session, &history.targets, now));
    let members = [
        ("version", VERSION.into()),
        ("complete", boolean(history.is_complete)),
        ("allowlist", boolean(has_allowlist)),
        ("sessions", array(sessions)),
    ];
    object(&members) + "\n"
}

fn one(session: &Session, targets: &[&str], now: &Stamp) -> String {
    let notices = targets.iter().zip(&session.fates).filter_map(|(name, fate)| {
        fate.map(|fate| object(&[("target", string(name)), ("state", string(fate.name()))]))
    });
    object(&[
        ("opened", moment(session.opened.as_ref(), now)),
        ("closed", moment(session.closed.as_ref(), now)),
        ("state", string(session.state.name())),
        ("duration_ms", optional(session.duration_ms.map(|ms| ms.to_string()))),
        ("time_uncertain", boolean(session.is_uncertain(now))),
        ("login_missing", boolean(session.is_unopened)),
        ("user", text(&session.user)),
        ("by", text(&session.by)),
        ("remote_host", text(&session.remote_host)),
        ("address", text(&session.address)),
        ("tty", text(&session.tty)),
        ("service", text(&session.service)),
        ("authentication", text(&session.authentication)),
        ("new_address", boolean(session.new.is_address)),
        ("new_key", boolean(session.new.is_key)),
        ("rule", optional(session.rule.map(|place| place.to_string()))),
        ("repeat", boolean(session.is_held)),
        ("notices", array(notices)),
    ])
}

fn moment(at: Option<&Stamp>, now: &Stamp) -> String {
    optional(at.and_then(|at| rfc3339(at.corrected(now))).as_deref().map(string))
}

fn text(field: &Field) -> String {
    optional(Some(field.as_str()).filter(|text| !text.is_empty()).map(string))
}
