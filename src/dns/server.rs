//! Where a name server is: what an operator writes, and the addresses that stand for it.
//!
//! Owns the grammar of `auth_dns_server` and `val_dns_servers`. Must not talk to the server.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use faythe_core::name::DnsName;
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::dns::LookError;

/// The port of name servers (RFC 1035 §4.2).
const PORT: u16 = 53;
/// Longest wait for the system's resolver; its own default of 5 s for each try and server can add up to a minute.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most addresses of one name that are tried, so that a name with hundreds cannot hold an update up for minutes.
const ADDRESSES_MAX: usize = 8;

/// A name server as the operator wrote it, with its port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddr {
    text: String,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Ip(IpAddr),
    Name(DnsName),
}

/// Why a text names no server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no name server: {what}; write `host`, `host:port`, `address`, `address:port` or `[IPv6 address]:port`"
)]
pub struct ServerAddrError {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub what: String,
}

impl ServerAddr {
    /// The server of this name at an address that is known.
    pub(crate) fn found(name: &str, address: SocketAddr) -> Self {
        Self {
            text: format!("{name} at {address}"),
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }

    /// Finds the addresses to try, in the resolver's order; at least one.
    ///
    /// # Errors
    /// The resolver's, or a time-out; never for an address.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let name = match &self.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => name.as_str(),
        };
        let found = timeout(RESOLVE_TIMEOUT, lookup_host((name, self.port)))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the system's resolver did not answer"))?
            .map_err(|error| io::Error::new(error.kind(), format!("{name} has no address: {error}")))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{name} has no address"),
            ));
        }
        Ok(addresses)
    }
}

/// All addresses of several servers, in their order; those of a server whose name has none are left out if others have.
///
/// # Errors
/// Why the first has none, where none has any.
pub(crate) async fn addresses(servers: &[ServerAddr]) -> Result<Vec<SocketAddr>, LookError> {
    let mut all = Vec::new();
    let mut first = None;
    for server in servers {
        match server.addresses().await {
            Ok(found) => all.extend(found),
            Err(error) => first = first.or_else(|| Some(LookError::io(&error))),
        }
    }
    match first {
        Some(error) if all.is_empty() => Err(error),
        Some(_) | None => Ok(all),
    }
}

impl FromStr for ServerAddr {
    type Err = ServerAddrError;

    fn from_str(text: &str) -> Result<Self, ServerAddrError> {
        let error = |what: &str| ServerAddrError {
            text: text.to_owned(),
            what: what.to_owned(),
        };
        let trimmed = text.trim();
        let (host, port) = if let Some(bracketed) = trimmed.strip_prefix('[') {
            let (inside, rest) = bracketed
                .split_once(']')
                .ok_or_else(|| error("the ']' is missing"))?;
            let ip: Ipv6Addr = inside
                .parse()
                .map_err(|_| error("what stands in brackets is no IPv6 address"))?;
            let port = match rest {
                "" => None,
                rest => Some(
                    rest.strip_prefix(':')
                        .ok_or_else(|| error("':' must follow ']'"))?,
                ),
            };
            (Host::Ip(ip.into()), port)
        } else if let Ok(ip) = trimmed.parse() {
            // An IPv6 address without brackets has no port: its last group could be mistaken for one.
            (Host::Ip(ip), None)
        } else {
            let (host, port) = match trimmed.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (trimmed, None),
            };
            let host = match host.parse() {
                Ok(ip) => Host::Ip(ip),
                Err(_) => Host::Name(DnsName::parse(host).map_err(|cause| error(&cause.to_string()))?),
            };
            (host, port)
        };
        let port = match port {
            None => PORT,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(error("the port must be a number from 1 to 65535")),
            },
        };
        Ok(Self {
            text: trimmed.to_owned(),
            host,
            port,
        })
    }
}

impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: u16) {
        let server: ServerAddr = text.parse().unwrap();
        let found = match &server.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.to_string(),
        };
        assert_eq!((found.as_str(), server.port), (host, port), "for {text:?}");
        assert_eq!(server.to_string(), text.trim());
    }

    #[track_caller]
    fn check_refused(text: &str, what: &str) {
        let error = text.parse::<ServerAddr>().unwrap_err().to_string();
        assert!(error.contains(what), "{error:?} for {text:?}");
        assert!(error.contains("write `host`"), "{error:?} names no remedy");
    }

    #[test]
    fn every_spelling_of_a_server_is_understood() {
        check("ns1.example.com", "ns1.example.com", 53);
        check("NS1.example.com.", "ns1.example.com", 53);
        check("localhost:5300", "localhost", 5300);
        check(" ns1.example.com:5353 ", "ns1.example.com", 5353);
        check("192.0.2.1", "192.0.2.1", 53);
        check("192.0.2.1:5300", "192.0.2.1", 5300);
        check("2001:db8::53", "2001:db8::53", 53);
        check("::1", "::1", 53);
        check("[2001:db8::53]", "2001:db8::53", 53);
        check("[2001:db8::53]:5300", "2001:db8::53", 5300);
    }

    #[test]
    fn a_wrong_spelling_says_why_and_what_to_write() {
        check_refused("", "empty");
        check_refused("ns1.example.com:", "port");
        check_refused("ns1.example.com:0", "port");
        check_refused("ns1.example.com:65536", "port");
        check_refused("ns1.example.com:dns", "port");
        check_refused("[2001:db8::53", "']'");
        check_refused("[2001:db8::53]5300", "':'");
        check_refused("[192.0.2.1]:53", "IPv6");
        check_refused("ns_1.example.com", "character");
        check_refused("udp://192.0.2.1", "port");
        check_refused("ns1.example.com#53", "character");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            drop(text.parse::<ServerAddr>());
        }
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let server: ServerAddr = "[::1]:5300".parse().unwrap();
        assert_eq!(server.addresses().await.unwrap(), ["[::1]:5300".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_without_address_is_named() {
        let server: ServerAddr = "no-such-host.invalid".parse().unwrap();
        let error = server.addresses().await.unwrap_err();
        assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
    }
}
