//! Names of users.

use std::fs;

/// The user's name, or its number where it has none in `/etc/passwd`.
pub fn user_name(uid: u32) -> String {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&accounts, uid).unwrap_or_else(|| format!("user {uid}"))
}

/// The name of the user who runs this process; behind sudo, of the one who called it.
pub fn own_name() -> String {
    match std::env::var("SUDO_USER") {
        Ok(name) if rustix::process::getuid().is_root() && !name.is_empty() => name,
        _ => user_name(rustix::process::getuid().as_raw()),
    }
}

fn name_in(accounts: &str, uid: u32) -> Option<String> {
    // passwd(5): NAME:PASSWORD:UID:…
    let mut fields = accounts.lines().map(|line| line.split(':'));
    fields.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_its_number() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\nnonsense\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(name_in(accounts, 1000).as_deref(), Some("ada"));
        assert_eq!(name_in(accounts, 7), None);
    }
}
