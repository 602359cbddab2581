//! A glance at the queue: whether it is plain that nothing waits.
//!
//! Nearly every minute that is all a sender has to know, and to ask `SQLite`, which first reads and
//! compiles the whole schema, costs more than the rest of its run. So the six pages or so that tell are
//! read right here. That hides nothing: what is read is the queue itself, as the last commit left it,
//! while nobody else has it open; and a "no" only means that `SQLite` is to be asked.

use std::path::Path;

use crate::queue::image::{Image, Value, columns};
use crate::queue::{damage, schema, wait_for_turn};

/// Whether it is certain that the known targets are these, and that nothing waits for any of them, now
/// or later, or that nobody was told of. To be asked only while this process doesn't have the queue open.
pub fn is_settled(path: &Path, targets: &[&str]) -> bool {
    let Some(_turn) = wait_for_turn(path) else { return false };
    look(path, targets).unwrap_or(false) && !damage::is_unfinished(path)
}

fn look(path: &Path, targets: &[&str]) -> Option<bool> {
    let image = Image::read(path)?;
    let [event, target, attempt, delivery] = roots(&image)?;
    // A dead letter that everybody knows of is no matter, but not so plain.
    for exceptions in [attempt, delivery] {
        if image.page(exceptions)?.entries()?.next().is_some() {
            return Some(false);
        }
    }
    let newest = image.last_row(event)?;
    let page = image.page(target)?;
    let mut known = 0;
    for row in page.entries()? {
        let [Value::Text(name), Value::Number(cursor), ..] = columns(row?)? else { return None };
        if cursor < newest || !targets.iter().any(|target| target.as_bytes() == name) {
            return Some(false);
        }
        known += 1;
    }
    Some(known == targets.len())
}

/// The first page of each table of [`schema::TABLES`]: if those are all that there is, each made by the
/// very statement there, so that it is known what is in which column.
fn roots(image: &Image) -> Option<[u32; 4]> {
    let mut roots = [0; 4];
    for leaf in image.leaves(1)? {
        for row in leaf.rows()? {
            let [Value::Text(b"table"), Value::Text(name), Value::Text(table), Value::Number(root), Value::Text(sql)] =
                columns(row?.1)?
            else {
                return None;
            };
            let is_this = |(known, made): &(&str, &str)| {
                [known.as_bytes(), known.as_bytes(), made.as_bytes()] == [name, table, sql]
            };
            let place = schema::TABLES.iter().position(is_this)?;
            if roots[place] != 0 {
                return None;
            }
            roots[place] = u32::try_from(root).ok()?;
        }
    }
    (!roots.contains(&0)).then_some(roots)
}

#[cfg(test)]
mod tests;
