//! The operator's configuration: validated, immutable, units in types.
//!
//! A [`Config`] cannot be wrong in itself: whoever holds one need not check anything again. The file format, its keys
//! and its defaults are `v1`'s; what single values may look like is `syntax`'s.
//!
//! [`load`] reads files and touches nothing else. Every problem there is comes back at once, with its place and its
//! remedy. Values that may be secrets are never quoted.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use faythe_core::budget::Limits;
use faythe_core::name::DnsName;
use faythe_core::schedule::Threshold;
use faythe_core::zone::Rule;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::ca::acme::{MacAlgorithm, Proxy};
use crate::dns::client::Primary;
use crate::dns::keyfile::Hint;
use crate::dns::{Foreign, keyfile};
use crate::sealed::Sealed;
use crate::x509::KeyType;

mod v1;

#[doc(hidden)]
pub mod fuzzing;
mod json;
mod keys;
mod reader;
mod syntax;
mod tree;
mod view;
mod yaml;

/// The most that is read of a configuration file, in bytes; the sample has less than one thousand.
const CONFIG_MAX: u64 = 256 << 10;
/// The most that is read of a file with root certificates, in bytes; all of Mozilla's together have 250 thousand.
const ROOTS_MAX: u64 = 4 << 20;

/// The most that is read of a file with an HMAC key, in bytes; real ones have less than one hundred.
const BINDING_KEY_MAX: u64 = 4 << 10;

/// What the operator has chosen (the keys of the file: `docs/configuration.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Namespace in which certificates are searched and kept; an RFC 1123 label.
    pub secret_namespace: String,
    /// Label key on a Secret that holds the hostname its certificate covers.
    pub secret_hostlabel: String,
    /// The CAs, at least one, in order of preference.
    pub cas: Vec<CaConfig>,
    /// Kind of key made for a new certificate.
    pub key_type: KeyType,
    /// The zones, at least one, no two with one name.
    pub zones: Vec<ZoneConfig>,
    /// Time between two re-syncs of the picture of the cluster; never zero.
    pub monitor_interval: Duration,
    /// When renewal starts.
    pub renewal_threshold: Threshold,
    /// How many routine renewals begin in a minute at most; `None` for no bound.
    pub renewals_per_minute: Option<NonZeroU32>,
    /// Time between two attempts for the same domain after the CA has seen one fail; may be zero.
    pub issue_grace: Duration,
    /// What stands for `*` in names and labels of Kubernetes.
    pub wildcard_cert_k8s_prefix: String,
    /// Address of the HTTP server for metrics and health; `None` for no server.
    pub listen: Option<SocketAddr>,
    /// Whether one of several instances is elected to act.
    pub leader_election: bool,
    /// Name of the Lease by which it is elected; an RFC 1123 subdomain.
    pub lease_name: String,
}

/// One certification authority.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaConfig {
    /// What it is called in reports; no two have one name.
    pub name: String,
    /// Its directory; https, or http on a loopback address.
    pub url: http::Uri,
    /// Contact address, without `mailto:`.
    pub email: Option<String>,
    /// PEM file with roots to trust for its HTTPS besides the system's.
    pub root_certificates: Option<PathBuf>,
    /// The proxy that leads to it.
    pub proxy: Option<Proxy>,
    /// The profile to order with; `None` leaves it to the CA.
    pub profile: Option<String>,
    /// What stands in for a profile that the CA does not offer; `None` where nothing does.
    pub profile_fallback: Option<String>,
    /// Common name of the issuer that the chain should lead to.
    pub preferred_chain: Option<String>,
    /// Kind of key made for a new account.
    pub account_key_type: KeyType,
    /// What binds our account to one that the CA knows otherwise.
    pub binding: Option<BindingConfig>,
    /// What it allows, as far as we use it.
    pub limits: Limits,
    /// How long those before it must have been of no use before it stands in.
    pub use_after: Duration,
}

/// An external account binding (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindingConfig {
    /// The name of the key at the CA.
    pub kid: String,
    /// File with the key in base64url.
    pub key_file: PathBuf,
    /// The algorithm that it is for.
    pub algorithm: MacAlgorithm,
}

/// One zone that takes updates.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZoneConfig {
    /// The zone's name.
    pub apex: DnsName,
    /// The servers that take updates, at least one, in order, as configured: `host`, `host:port`, `v4`, `v4:port`, `v6`,
    /// `[v6]` or `[v6]:port`.
    pub servers: Vec<String>,
    /// Which of the zone's servers is its primary.
    pub primary: Primary,
    /// What signs updates.
    pub key: KeyConfig,
    /// How far the server's clock is followed when it refuses ours (P12); zero for not at all.
    pub clock_skew_limit: Duration,
    /// Which servers must show a new record before the CA is told.
    pub rule: Rule,
    /// On which port the name servers listen that the zone's NS records name.
    pub name_server_port: u16,
    /// What stands behind the usual name of each challenge; `None` to find out for each name where it goes.
    pub challenges: Option<DnsName>,
    /// Serve hosts by the wildcard of their parent (S11).
    pub wildcards: bool,
    /// The profile to order with; `None` for that of the CA.
    pub profile: Option<String>,
    /// The names of the CAs that serve it, in order; `None` for all.
    pub cas: Option<Vec<String>>,
    /// Time to live of our records.
    pub ttl: Duration,
    /// What becomes of values that are not ours at a challenge's own name (S09).
    pub stale_values: Foreign,
}

/// What signs the updates of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyConfig {
    /// A file as `nsupdate -k` takes it.
    File {
        /// Where it is.
        path: PathBuf,
        /// What it does not say itself.
        hint: Hint,
    },
    /// Nothing.
    Unsigned,
}

/// Everything that is wrong with a configuration; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong, told for the person who has to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file, as it was named at the start.
    pub file: PathBuf,
    /// Line in the file, from 1, where there is one to point at.
    pub line: Option<usize>,
    /// Column in that line, from 1, for mistakes in the file's syntax.
    pub column: Option<usize>,
    /// The key's path in the file, such as `val_dns_servers[1]`; `None` where the whole file is meant.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Something that works and is yet probably not meant; told like a [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub Problem);

/// What is wrong with a single value, before its place is known.
#[derive(Debug)]
struct Fault {
    what: String,
    remedy: String,
}

/// A file that the configuration names.
#[derive(Clone, Copy, Debug)]
enum Referenced<'a> {
    /// The HMAC key of an external account binding.
    BindingKey,
    /// `acme_root_certificates`.
    Roots,
    /// `auth_dns_key`, with what is known of the key besides.
    UpdateKey(&'a Hint),
}

/// Reads the configuration at `path` and looks at the files it names.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), Problems> {
    let bytes = read(path, CONFIG_MAX).map_err(|fault| Problems::of_file(path, fault))?;
    v1::parse(path, &bytes, &look)
}

impl BindingConfig {
    /// Reads the key, which was there and good when the configuration was read.
    ///
    /// # Errors
    /// What is wrong with the file now.
    pub fn key(&self) -> Result<Sealed, Problems> {
        read_binding_key(&self.key_file).map_err(|fault| Problems::of_file(&self.key_file, fault))
    }
}

impl Problems {
    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// The one problem of a file that cannot be read at all.
    fn of_file(file: &Path, Fault { what, remedy }: Fault) -> Self {
        let file = file.to_owned();
        Self(vec![Problem {
            file,
            line: None,
            column: None,
            key: None,
            what,
            remedy,
        }])
    }

    /// The one problem of a file whose text cannot be taken apart.
    fn of_syntax(
        file: &Path,
        tree::Broken {
            line,
            column,
            what,
            remedy,
        }: tree::Broken,
    ) -> Self {
        let (file, remedy) = (file.to_owned(), remedy.to_owned());
        Self(vec![Problem {
            file,
            line,
            column,
            key: None,
            what,
            remedy,
        }])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Fault {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// Looks at a file that the configuration names: is it there, and what it is said to be?
fn look(what: Referenced<'_>, path: &Path) -> Result<(), Fault> {
    match what {
        Referenced::BindingKey => read_binding_key(path).map(drop),
        Referenced::Roots => check_roots(path),
        Referenced::UpdateKey(hint) => check_update_key(path, hint),
    }
}

/// Whether there is a key in the key file. The path is not quoted: somebody may have put the key itself there.
fn check_update_key(path: &Path, hint: &Hint) -> Result<(), Fault> {
    let Err(error) = keyfile::load(path, hint) else {
        return Ok(());
    };
    let what = match error.place.0 {
        Some((line, column)) => format!(
            "line {line}, column {column} of the file it names: {}",
            error.what
        ),
        None => format!("the file it names: {}", error.what),
    };
    Err(Fault::new(
        what,
        format!("{}{}", error.remedy, where_relative_paths_start(path)),
    ))
}

/// Reads the key of an external account binding: base64url without padding (RFC 8555 §7.3.4), as portals show it; padding,
/// line breaks at the end and the other alphabet are passed over. Neither path nor content is quoted.
fn read_binding_key(path: &Path) -> Result<Sealed, Fault> {
    let remedy = "give the path of a file with nothing but the HMAC key, in base64url as the CA hands it out";
    let wrong = |what: &str| Fault::new(format!("the file it names {what}"), remedy);
    let bytes = read(path, BINDING_KEY_MAX).map_err(|_| {
        Fault::new(
            "the file it names cannot be read, or is too long for a key",
            format!(
                "{remedy}, readable for the user who runs faythe{}",
                where_relative_paths_start(path)
            ),
        )
    })?;
    let bytes = Zeroizing::new(bytes);
    let text: Zeroizing<Vec<u8>> = Zeroizing::new(
        bytes
            .trim_ascii()
            .iter()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => *other,
            })
            .collect(),
    );
    let unpadded = text
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |last| last + 1);
    let key = text
        .get(..unpadded)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    match key {
        Some(key) if !key.is_empty() => Ok(Sealed::new(key)),
        Some(_) => Err(wrong("is empty")),
        None => Err(wrong("is not base64url")),
    }
}

/// Whether the file holds PEM certificates and nothing that looks like one but is none.
fn check_roots(path: &Path) -> Result<(), Fault> {
    let remedy = "give the path of a file with the roots' certificates in PEM";
    let bytes = read(path, ROOTS_MAX).map_err(|Fault { what, .. }| {
        Fault::new(
            what,
            format!(
                "{remedy}, readable for the user who runs faythe{}",
                where_relative_paths_start(path)
            ),
        )
    })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(Fault::new(
            format!("{path:?} holds no certificate (no `BEGIN CERTIFICATE`)"),
            remedy,
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::new(format!("{path:?} is not PEM: {error}"), remedy)),
    }
}

/// Reads a whole file of at most `max` bytes.
fn read(path: &Path, max: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
    if let Err(error) = result {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let remedy = if missing {
            "name a file that exists"
        } else {
            "make it a file readable for the user who runs faythe"
        };
        return Err(Fault::new(format!("{path:?} cannot be read: {error}"), remedy));
    }
    if bytes.len() as u64 > max {
        return Err(Fault::new(
            format!("{path:?} has more than {max} bytes"),
            "name the right file",
        ));
    }
    Ok(bytes)
}

/// A remark on relative paths, which are not looked up beside the configuration file.
fn where_relative_paths_start(path: &Path) -> &'static str {
    if path.is_relative() {
        " (it is relative, and so counts from the working directory)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests;
