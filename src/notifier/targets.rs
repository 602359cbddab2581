//! Reads the targets: the section `notification`, which lists their names, and the section of each.

use std::fmt;

use crate::notifier::{Notifier, OPTIONAL, Row, SERVICES};
use crate::rules::Filter;
use crate::toml::Section;

/// Characters in a target's name.
const NAME_LIMIT: usize = 32;

/// A target's name: 1 to 32 of a-z, 0-9, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = (1..=NAME_LIMIT).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
        is_name.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the section `notification`, and returns the targets that `service` lists and that have no mistakes. Sections
/// of other targets are checked too.
pub fn configure(mut section: Section<'_>) -> Vec<Notifier> {
    let listed = listed(&mut section);
    let targets = listed.iter().filter_map(|name| target(&mut section, name.clone())).collect();
    for key in section.tables() {
        match Name::parse(key) {
            Some(name) if listed.contains(&name) => {}
            Some(name) => drop(target(&mut section, name)),
            None => section.section(key).refuse("must be renamed: a target's name has 1 to 32 of a-z, 0-9, _ and -"),
        }
    }
    section.finish();
    targets
}

/// Reads the names in `service`. Each must be a service or have a section.
fn listed(section: &mut Section<'_>) -> Vec<Name> {
    let mut names = Vec::new();
    // A new configuration without targets is not a mistake.
    let is_bare = !section.has("service") && section.tables().is_empty();
    let found = if is_bare { None } else { section.required("service", Section::strings) };
    let is_target = |name: &Name| service(name.as_str()).is_some() || section.tables().contains(&name.as_str());
    for found in found.iter().flat_map(|found| &found.value) {
        let name = section.check("service", found, |text| match Name::parse(text).filter(is_target) {
            Some(name) if names.contains(&name) => Err(format!("names {text:?} twice")),
            Some(name) => Ok(name),
            None => Err(format!("{}, or a name that has a section of its own", no_service(text))),
        });
        names.extend(name);
    }
    names
}

/// Reads one target's section.
fn target(parent: &mut Section<'_>, name: Name) -> Option<Notifier> {
    let mut section = parent.section(name.as_str());
    let Row { name: service, capacity, detail, configure } = service_of(&mut section, &name)?;
    let filter = Filter::configure(&mut section);
    let is_direct = section.boolean("proxy") == Some(false);
    let setup = configure(&mut section);
    section.finish();
    Some(Notifier { name, service, filter, capacity: *capacity, detail: *detail, is_direct, setup: setup? })
}

/// Finds the service of a target: the one that it is named after, or the one that its section names.
fn service_of(section: &mut Section<'_>, name: &Name) -> Option<&'static Row> {
    let own = service(name.as_str());
    if own.is_none() && !section.has("service") {
        section.refuse(match lacking(name.as_str()) {
            Some(why) => why,
            None => format!("needs a setting `service`; {}", choice()),
        });
    }
    let Some(found) = section.string("service") else { return own };
    section.check("service", &found, |given| match (own, service(given)) {
        (Some(Row { name, .. }), _) if name != given => {
            Err(format!("must be {name:?} like the section's name; rename the section to use another service"))
        }
        (_, Some(row)) => Ok(row),
        (_, None) => Err(no_service(given)),
    })
}

fn service(name: &str) -> Option<&'static Row> {
    SERVICES.iter().find(|row| row.name == name)
}

/// Explains that this build lacks a service. `None` if it has it, or if no build does.
fn lacking(name: &str) -> Option<String> {
    let is_lacking = OPTIONAL.contains(&name) && service(name).is_none();
    is_lacking.then(|| format!("is a service that this build lacks: use a build with the feature `{name}`"))
}

/// Lists the services: `it can be "discord", "ntfy" or "stdout"`
pub fn choice() -> String {
    let names: Vec<String> = SERVICES.iter().map(|row| format!("{:?}", row.name)).collect();
    let (last, others) = names.split_last().expect("there are services");
    format!("it can be {} or {last}", others.join(", "))
}

/// Explains that a text is not a service. It isn't shown if it may be an address, which is a secret.
fn no_service(given: &str) -> String {
    match lacking(given) {
        Some(why) => why,
        None if given.contains('/') => choice(),
        None => format!("is {given:?}; {}", choice()),
    }
}
