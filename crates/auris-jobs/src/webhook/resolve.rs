//! Resolves names for each connection, and leaves out the addresses that must not be called.
//!
//! A name that was harmless when the job was accepted may point into the server's own network now.

use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use super::address::objection;

/// The system's resolver without addresses that must not be called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver {
    pub(super) allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = *self;
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let allowed = resolver.allowed(found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

impl Resolver {
    fn allowed(self, found: impl Iterator<Item = SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        let is_allowed =
            |address: &SocketAddr| self.allow_private || objection(address.ip()).is_none();
        let allowed: Vec<_> = found.filter(is_allowed).collect();
        if allowed.is_empty() {
            return Err(io::Error::other(
                "the name resolves to no address that may be called without \
                 --webhook-allow-private",
            ));
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_left_of_a_name() {
        fn check(found: &[&str], left: &[&str]) {
            let found = found.iter().map(|address| address.parse().unwrap());
            let allowed = Resolver { allow_private: false }.allowed(found).unwrap_or_default();
            let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
            assert_eq!(allowed, left);
        }
        check(&["8.8.8.8:0", "127.0.0.1:0", "[::1]:0"], &["8.8.8.8:0"]);
        check(&["[2606:4700::1111]:0", "[fd00::1]:0"], &["[2606:4700::1111]:0"]);
        check(&["169.254.169.254:0", "[::ffff:10.0.0.1]:0"], &[]);
        check(&[], &[]);
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_looked_up_only_if_that_is_allowed() {
        let name = || "localhost".parse().unwrap();
        assert!(Resolver { allow_private: true }.resolve(name()).await.is_ok());
        assert!(Resolver { allow_private: false }.resolve(name()).await.is_err());
    }
}
