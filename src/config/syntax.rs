//! What single values may look like. Each function takes the text of one key and gives the typed value, or what is
//! wrong with it and how to mend it. Pure: no files, no look-ups.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use faythe_core::budget::Preset;
use faythe_core::name::DnsName;
use faythe_core::zone::Servers;
use faythe_core::zone::is_public_suffix;

use super::Fault;
use super::tree::shorten;
use crate::ca::acme::{MacAlgorithm, NoProxy, Proxy};
use crate::dns::tsig::Algorithm;
use crate::dns::{Foreign, keyfile};
use crate::x509::KeyType;

/// The longest label of Kubernetes and of the DNS (RFC 1123 §2.1, RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;
/// The longest prefix of a label key in Kubernetes.
const SUBDOMAIN_MAX: usize = 253;

/// A namespace: one RFC 1123 label.
pub(super) fn namespace(text: &str) -> Result<String, Fault> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{text:?} is not a namespace's name"),
        "give at most 63 lower-case letters, digits and hyphens, with a letter or digit at either end",
    ))
}

/// The name of a Lease: an RFC 1123 subdomain.
pub(super) fn lease_name(text: &str) -> Result<String, Fault> {
    if text.len() <= SUBDOMAIN_MAX && is_subdomain(text) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{text:?} is not the name of a Lease"),
        "give lower-case letters, digits, hyphens and dots, with a letter or digit at either end of each part, such as \
         `faythe`",
    ))
}

/// The key of a label in Kubernetes: a name, or a DNS prefix, a slash and a name.
pub(super) fn label_key(text: &str) -> Result<String, Fault> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if prefix.is_none_or(is_subdomain) && is_label_name(name) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{text:?} is not the key of a label"),
        "give a name such as `faythe-host`, or `example.com/host`: at most 63 letters, digits, '-', '_' and '.' \
         after an optional DNS name and '/'",
    ))
}

/// What stands for `*` at the start of an object's name and of a label's value: `wild--card` in
/// `wild--card.example.com`.
pub(super) fn wildcard_prefix(text: &str) -> Result<String, Fault> {
    if text.len() <= LABEL_MAX && is_subdomain(text) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{text:?} cannot begin the name of a Secret"),
        "give at most 63 lower-case letters, digits, hyphens and dots, with a letter or digit at either end of each \
         part, such as `wild--card`",
    ))
}

/// The zone's name; a single label is fine, a dot at the end too, a public suffix is not (P10).
pub(super) fn zone(text: &str) -> Result<DnsName, Fault> {
    let name = DnsName::parse_zone(text).map_err(|error| {
        Fault::new(
            format!("{:?} is not a zone: {error}", shorten(text)),
            "give its name, such as `example.com`",
        )
    })?;
    if is_public_suffix(&name) {
        return Err(Fault::new(
            format!(
                "{name} is a public suffix: others register names there, and nobody can update all of it"
            ),
            format!("give the zone that you have there, such as `example.{name}`"),
        ));
    }
    Ok(name)
}

/// The algorithm of a key that signs updates, and the bits of its signatures, all for 0.
pub(super) fn tsig_algorithm(text: &str) -> Result<(Algorithm, usize), Fault> {
    keyfile::algorithm(text).map_err(|(what, remedy)| Fault::new(what, remedy))
}

/// Which of a zone's servers must show a challenge.
pub(super) fn checked_servers(text: &str) -> Result<Servers, Fault> {
    match text {
        "authoritative" => Ok(Servers::Authoritative),
        "primary" => Ok(Servers::Primary),
        _ => Err(Fault::new(
            format!("{:?} says neither", shorten(text)),
            "give `authoritative` or `primary`",
        )),
    }
}

/// What becomes of values that are not ours.
pub(super) fn stale_values(text: &str) -> Result<Foreign, Fault> {
    match text {
        "keep" => Ok(Foreign::Kept),
        "remove" => Ok(Foreign::Removed),
        _ => Err(Fault::new(
            format!("{:?} says neither", shorten(text)),
            "give `remove` or `keep`",
        )),
    }
}

/// A name server: `host`, `host:port`, `v4`, `v4:port`, `v6`, `[v6]` or `[v6]:port`. Names are not looked up.
pub(super) fn server(text: &str) -> Result<String, Fault> {
    let remedy = "give a name or an address, with a port if it is not 53: `ns1.example.com`, `192.0.2.1:5353`, \
                  `2001:db8::1` or `[2001:db8::1]:5353`";
    let wrong = |why: &str| Fault::new(format!("{text:?} is not a name server: {why}"), remedy);
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    let bracketed = |text: &str| Some(text.strip_prefix('[')?.strip_suffix(']')?.to_owned());
    if bracketed(text)
        .as_deref()
        .unwrap_or(text)
        .parse::<Ipv6Addr>()
        .is_ok()
    {
        return Ok(text.to_owned());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    // Digits alone: the standard library's parser takes a plus sign too.
    let digits = |port: &str| port.bytes().all(|c| c.is_ascii_digit());
    if port.is_some_and(|port| !digits(port) || !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(wrong("what follows the last colon is no port from 1 to 65535"));
    }
    if bracketed(host).is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || host.parse::<Ipv4Addr>().is_ok()
    {
        return Ok(text.to_owned());
    }
    if host.contains([':', '[']) {
        return Err(wrong("it has brackets or several colons, but is no IPv6 address"));
    }
    let name = DnsName::parse(host).map_err(|error| wrong(&error.to_string()))?;
    // A name that ends in a number is an address with a mistake (RFC 1123 §2.1).
    if name
        .as_str()
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()))
    {
        return Err(wrong("it ends in a number, as an address does, but is none"));
    }
    Ok(text.to_owned())
}

/// The URL of an ACME directory. HTTPS is a must (RFC 8555 §6.1), except for tests on this very machine.
pub(super) fn directory(text: &str) -> Result<http::Uri, Fault> {
    let remedy = "give the CA's directory, such as `https://acme-v02.api.letsencrypt.org/directory`";
    // Not quoted: a URL can hold a password.
    let uri: http::Uri = text
        .parse()
        .map_err(|error| Fault::new(format!("it is not a URL: {error}"), remedy))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Fault::new(
            "it is not a whole URL: scheme or host is missing",
            remedy,
        ));
    };
    if authority.as_str().contains('@') {
        return Err(Fault::new(
            "it holds a user name or password, and ACME has neither",
            remedy,
        ));
    }
    if authority.host().is_empty() || authority.port_u16() == Some(0) {
        return Err(Fault::new("its host or port is impossible", remedy));
    }
    match scheme {
        "https" => Ok(uri),
        "http" if is_loopback(authority.host()) => Ok(uri),
        "http" => Err(Fault::new(
            "it is plain http, which is for a test CA on a loopback address only",
            "write https (RFC 8555 wants it); roots of a private CA go into `acme_root_certificates`",
        )),
        _ => Err(Fault::new("its scheme is not https", remedy)),
    }
}

/// One mail address, by its shape.
pub(super) fn email(text: &str) -> Result<String, Fault> {
    let remedy = "give one address, such as `hostmaster@example.com`";
    let wrong = |why: &str| Fault::new(format!("{text:?} is not a mail address: {why}"), remedy);
    if text.starts_with("mailto:") {
        return Err(wrong(
            "it begins with `mailto:`, which is added where the CA wants it",
        ));
    }
    let (local, domain) = text.rsplit_once('@').ok_or_else(|| wrong("it has no '@'"))?;
    let allowed = |c: char| c.is_ascii_graphic() && !"@,;:<>()[]\\\"".contains(c);
    if local.is_empty() || !local.chars().all(allowed) {
        return Err(wrong("what stands before the '@' cannot be there"));
    }
    DnsName::parse(domain).map_err(|error| wrong(&error.to_string()))?;
    Ok(text.to_owned())
}

/// The URL of a proxy; as the old tool had it, `http://` may be left out. Not quoted: it can hold a password.
pub(super) fn proxy(text: &str) -> Result<Proxy, Fault> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    whole.parse().map_err(|error: NoProxy| {
        let remedy = "give the URL of an HTTP proxy, with a user and password if it wants them";
        Fault::new(error.to_string(), remedy)
    })
}

/// What a CA is called.
pub(super) fn ca_name(text: &str) -> Result<String, Fault> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{:?} is no name for a CA", shorten(text)),
        "give at most 63 lower-case letters, digits and hyphens, with a letter or digit at either end",
    ))
}

/// A word or a few, for somebody else to understand.
pub(super) fn some_text(text: &str) -> Result<String, Fault> {
    if !text.trim().is_empty() && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "it is empty, or has line breaks or other control characters",
        "give one line of text",
    ))
}

/// A known set of limits.
pub(super) fn preset(text: &str) -> Result<Preset, Fault> {
    let known = Preset::ALL.into_iter().find(|preset| preset.code() == text);
    known.ok_or_else(|| {
        Fault::new(
            format!("{:?} is no set of limits", shorten(text)),
            "give one of `letsencrypt`, `letsencrypt-staging`, `none`",
        )
    })
}

/// The algorithm of an external account binding.
pub(super) fn mac_algorithm(text: &str) -> Result<MacAlgorithm, Fault> {
    match text {
        "HS256" => Ok(MacAlgorithm::Hs256),
        "HS384" => Ok(MacAlgorithm::Hs384),
        "HS512" => Ok(MacAlgorithm::Hs512),
        _ => Err(Fault::new(
            format!("{:?} is no algorithm for this", shorten(text)),
            "give one of `HS256`, `HS384`, `HS512`",
        )),
    }
}

/// The address to listen on; `None` for `off`.
pub(super) fn listen(text: &str) -> Result<Option<SocketAddr>, Fault> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Fault::new(
            format!("{text:?} is not an address with a port"),
            "give an address of this machine and a port, such as `0.0.0.0:9105` or `[::]:9105`, or `off`",
        )
    })
}

/// The kind of the certificates' keys.
pub(super) fn key_type(text: &str) -> Result<KeyType, Fault> {
    KeyType::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| {
            let all = KeyType::ALL.map(|kind| format!("`{kind}`"));
            Fault::new(
                format!("{text:?} is no type of key"),
                format!("give one of {}", all.join(", ")),
            )
        })
}

/// A file's path. Never quoted: somebody may have put the file's content there.
pub(super) fn path(text: &str) -> Result<PathBuf, Fault> {
    let remedy = "give the path of a file";
    if text.is_empty() {
        return Err(Fault::new("it is empty", remedy));
    }
    if text.contains(char::is_control) {
        return Err(Fault::new(
            "it has line breaks or other control characters, as no path has",
            remedy,
        ));
    }
    Ok(PathBuf::from(text))
}

/// One RFC 1123 label, lower case.
fn is_label(text: &str) -> bool {
    text.len() <= LABEL_MAX
        && text
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        && is_alphanumeric_at_both_ends(text)
}

/// Labels with dots between them. Kubernetes' own rule; unlike in the DNS, each may have more than 63 characters.
fn is_subdomain(text: &str) -> bool {
    text.len() <= SUBDOMAIN_MAX
        && text.split('.').all(|part| {
            part.bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
                && is_alphanumeric_at_both_ends(part)
        })
}

/// The part of a label's key after the slash.
fn is_label_name(text: &str) -> bool {
    text.len() <= LABEL_MAX
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
        && is_alphanumeric_at_both_ends(text)
}

fn is_alphanumeric_at_both_ends(text: &str) -> bool {
    let bytes = text.as_bytes();
    [bytes.first(), bytes.last()]
        .iter()
        .all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
}

/// Whether a URL's host is this very machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
