//! The kernel's settings under `/proc/sys`, by the names that `sysctl` gives them.
//!
//! Those below `net` are the calling thread's network namespace's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a setting could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The name leads elsewhere.
    #[error("{0:?} is not the name of a kernel setting, as net.ipv4.ip_forward is one")]
    Name(String),
    /// The kernel has no such setting.
    #[error("this kernel has no setting {0}; a module may be missing, or the interface in the name")]
    Missing(String),
    /// Anything else.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was asked for.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// A setting's value, without the line's end.
///
/// In the name, an interface's dot is written as a slash, as `sysctl` has it: `net.ipv4.conf.eth0/1.forwarding`. The form
/// `net/ipv4/conf/eth0.1/forwarding` is understood, too.
///
/// # Errors
/// Any [`SysctlError`].
pub fn read(name: &str) -> Result<String, SysctlError> {
    let value = fs::read_to_string(path(name)?).map_err(|error| explain(name, format!("read {name}"), error))?;
    Ok(value.trim_end_matches('\n').to_owned())
}

/// Changes a setting. The name is as in [`read`].
///
/// # Errors
/// Any [`SysctlError`].
pub fn write(name: &str, value: &str) -> Result<(), SysctlError> {
    fs::write(path(name)?, value).map_err(|error| explain(name, format!("set {name} to {value:?}"), error))
}

fn explain(name: &str, doing: String, source: io::Error) -> SysctlError {
    match source.kind() {
        io::ErrorKind::NotFound => SysctlError::Missing(name.to_owned()),
        _ => SysctlError::System { doing, source },
    }
}

/// man 8 sysctl: the first separator met is the separator; with dots, a slash stands for a dot.
fn path(name: &str) -> Result<PathBuf, SysctlError> {
    let dotted = name.find(['.', '/']).is_some_and(|first| name.as_bytes()[first] == b'.');
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let path: String = if dotted {
        name.chars().map(swap).collect()
    } else {
        name.to_owned()
    };
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
        return Err(SysctlError::Name(name.to_owned()));
    }
    Ok(Path::new("/proc/sys").join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_both_forms() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net.ipv6.conf.eth0/1.forwarding", "/proc/sys/net/ipv6/conf/eth0.1/forwarding"),
            ("net/ipv6/conf/eth0.1/forwarding", "/proc/sys/net/ipv6/conf/eth0.1/forwarding"),
        ] {
            assert_eq!(path(name).unwrap(), Path::new(expected), "{name}");
        }
        for name in [
            "",
            "net..ipv4",
            "net/../../etc/passwd",
            "/etc/passwd",
            "net.ipv4.",
            "net.//.//.x",
        ] {
            assert!(matches!(path(name), Err(SysctlError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn a_setting_is_read_and_an_absent_one_is_named() {
        assert!(!read("kernel.ostype").unwrap().contains('\n'));
        assert_eq!(read("kernel.ostype").unwrap(), "Linux");
        let error = read("net.ipv4.no_such_setting").unwrap_err();
        assert!(
            matches!(&error, SysctlError::Missing(name) if name == "net.ipv4.no_such_setting"),
            "{error}"
        );
    }
}
