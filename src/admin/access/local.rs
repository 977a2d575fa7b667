//! Who is at the other end of the admin socket, as the kernel says it (unix(7), `SO_PEERCRED`).

use std::fmt;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// Whoever connected, by their number; nothing where the kernel does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) struct Local(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Local {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // The unit's `PrivateUsers=` leaves root and the service's own user their numbers, and all others this one.
            None | Some(OVERFLOW_UID) => f.write_str("another user"),
            Some(uid) => {
                // A short file, read only where something is noted.
                let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
                match name_of(&users, uid) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "uid {uid}"),
                }
            }
        }
    }
}

/// What stands for users that a user namespace does not know (`user_namespaces(7)`).
const OVERFLOW_UID: u32 = 65_534;

/// Somebody's name in `passwd(5)`.
fn name_of(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let is_name = !name.is_empty() && name.len() <= 64 && !name.contains(char::is_control);
        (rest.split(':').nth(1)?.parse() == Ok(uid) && is_name).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_name_of_the_file_or_none() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbad\n::7:7::/:\nines:x:1000:1000:,,,:/home/ines:/bin/sh\n";
        assert_eq!([0, 1000, 7, 8].map(|uid| name_of(users, uid)), [Some("root"), Some("ines"), None, None]);
        assert_eq!(Local(Some(3_999_999_999)).to_string(), "uid 3999999999");
        assert_eq!([Local(None), Local(Some(OVERFLOW_UID))].map(|local| local.to_string()), ["another user"; 2]);
    }
}
