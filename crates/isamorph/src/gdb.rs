//! The argument of `-g`: where gdb connects, and whether the program waits for it.

use crate::end::End;
use isamorph_control::gdb::{Address, Server, Threads};
use isamorph_linux_user::debug::Debugger;
use std::ffi::OsStr;
use std::sync::Arc;

/// A gdb stub that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stub {
    address: Address,
    suspend: bool,
}

impl Stub {
    /// Understands `PORT` or `PATH`, with `%d` for the process id, and `,suspend=n`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(value: &OsStr) -> Result<Self, End> {
        let bad = || End::failed(format!("qemu: -g: '{}' is no port and no path", value.to_string_lossy()));
        let text = value.to_str().ok_or_else(bad)?;
        let (place, suspend) = match text.split_once(',') {
            None => (text, true),
            Some((place, "suspend=y" | "suspend=on")) => (place, true),
            Some((place, "suspend=n" | "suspend=off")) => (place, false),
            Some(_) => return Err(bad()),
        };
        let address = match place.parse() {
            Ok(port) => Address::Port(port),
            Err(_) if place.is_empty() || place.bytes().all(|b| b.is_ascii_digit()) => return Err(bad()),
            Err(_) => Address::Path(place.replace("%d", &std::process::id().to_string()).into()),
        };
        Ok(Stub { address, suspend })
    }
    /// Listens.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn listen(&self) -> Result<Arc<dyn Debugger>, End> {
        let server =
            Server::listen(&self.address).map_err(|e| End::failed(format!("qemu: could not open gdb socket: {e}")))?;
        Ok(Threads::new(server, self.suspend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_paths() {
        let parse = |text: &str| Stub::parse(OsStr::new(text)).ok();
        let stub = |address, suspend| Some(Stub { address, suspend });
        assert_eq!(parse("1234"), stub(Address::Port(1234), true));
        assert_eq!(parse("1234,suspend=n"), stub(Address::Port(1234), false));
        let path = format!("/tmp/gdb.{}", std::process::id());
        assert_eq!(parse("/tmp/gdb.%d"), stub(Address::Path(path.into()), true));
        for bad in ["", "123456", "1234,suspend=maybe", ",suspend=n"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
