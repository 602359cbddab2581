//! The machine: the clock, this binary, and a store of authorities.

use std::fs::File;
use std::io::Read;

use crate::clock::{EARLIEST_MS, Stamp};
use crate::command::check::finding::Finding;
use crate::command::check::host::Host;
use crate::config::Config;

/// Where systems keep their certificate authorities.
const STORES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Bytes at the start of a binary that hold its program headers.
const HEADERS: usize = 4096;

/// Examines clock, binary and store.
pub fn examine(host: &Host, config: Option<&Config>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if Stamp::now().utc_ms < EARLIEST_MS {
        let text = "clock: it was never set; TLS fails until it is, and times are uncertain";
        findings.push(Finding::warning(text, "ntpd -q -n -p pool.ntp.org || chronyc makestep"));
    }
    if is_dynamic(host) {
        let text = format!(
            "binary: {} uses shared libraries: where users can set LD_PRELOAD (pam_env user_readenv=1), they can run \
             code as root",
            host.exe.display()
        );
        findings.push(Finding::warning(text, "install a static build (make dist)"));
    }
    if let Some(config) = config.filter(|config| config.is_secure() && config.network.ca_file.is_none()) {
        let store = STORES.iter().find(|store| host.has(store));
        let which = store.map_or("the built-in authorities; this host has no store", |store| store);
        let count = config.targets.iter().filter(|target| target.is_secure()).count();
        findings.push(Finding::ok(format!("authorities: {count} targets use TLS and trust {which}")));
    }
    findings
}

/// Whether the binary names a loader: an ELF file with a program header of the type `PT_INTERP` (elf(5)).
fn is_dynamic(host: &Host) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(&host.exe).and_then(|file| file.take(HEADERS as u64).read_to_end(&mut bytes));
    let number = |at: usize, length: usize| {
        let part = bytes.get(at..at + length)?;
        // Every machine that this is built for is little-endian.
        Some(part.iter().rev().fold(0_usize, |all, byte| all << 8 | usize::from(*byte)))
    };
    let is_wide = bytes.get(4) == Some(&2);
    let (offset, size, count) = if is_wide { ((32, 8), 54, 56) } else { ((28, 4), 42, 44) };
    let (Some(start), Some(size), Some(count)) = (number(offset.0, offset.1), number(size, 2), number(count, 2)) else {
        return false;
    };
    read.is_ok() && (0..count.min(64)).any(|index| number(start + index * size, 4) == Some(3))
}
