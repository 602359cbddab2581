//! Secrets in files of their own, and those among them that root reads before it gives up its privileges.

use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use toml_edit::{Document, TableLike};

use crate::error::Error;
use crate::files::{self, Links};
use crate::text::Secret;

/// Bytes of a file that holds a secret.
const SECRET_LIMIT: u64 = 64 * 1024;

/// A file that root read before it gave up its privileges: the text in it, or why it couldn't be read.
pub type KnownSecret = (PathBuf, Result<Secret, Error>);

/// Reads, as root, the texts of files that only root can have written: those that a key `x_file` names, for any `x`.
/// Other files are not read, because they may be links to root's files.
pub fn root_secrets(text: &str) -> Vec<KnownSecret> {
    let mut secrets = Vec::new();
    if let Ok(document) = Document::parse(text)
        && geteuid().is_root()
    {
        collect_secrets(document.as_table(), &mut secrets);
    }
    secrets
}

fn collect_secrets(table: &dyn TableLike, secrets: &mut Vec<KnownSecret>) {
    for (key, item) in table.iter() {
        if let Some(below) = item.as_table_like() {
            collect_secrets(below, secrets);
        } else if let Some(path) = item.as_str().filter(|path| key.ends_with("_file") && path.starts_with('/')) {
            secrets.extend(root_secret(Path::new(path)).map(|read| (path.into(), read)));
        }
    }
}

/// Reads a file that only root can have written; `None` if others could have.
fn root_secret(path: &Path) -> Option<Result<Secret, Error>> {
    match files::is_roots_alone(path) {
        Ok(true) => Some(text_of(path)),
        Ok(false) => None,
        Err(why) => Some(Err(Error::file("read", path)(why))),
    }
}

/// Reads the text of a secret's file.
pub fn text_of(path: &Path) -> Result<Secret, Error> {
    let (bytes, _) = files::read(path, SECRET_LIMIT, Links::Follow).map_err(Error::file("read", path))?;
    Ok(Secret::new(String::from_utf8_lossy(&bytes)))
}
