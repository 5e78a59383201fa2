//! What a certificate says, and whether a client would accept it.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls;

/// A certificate with its chain.
#[derive(Debug, Clone)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    /// The DNS names it is for, as written in it, sorted.
    pub names: Vec<String>,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Reads a PEM text that holds the certificate first and then its chain.
    pub fn read(pem: &[u8]) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
        let leaf = chain.first().context("no certificate in the PEM text")?;
        let (_, parsed) = X509Certificate::from_der(leaf)?;
        let mut names = Vec::new();
        if let Some(alternatives) = parsed.subject_alternative_name()? {
            for name in &alternatives.value.general_names {
                if let GeneralName::DNSName(name) = name {
                    names.push((*name).to_owned());
                }
            }
        }
        names.sort();
        let validity = parsed.validity();
        Ok(Self {
            names,
            issuer: parsed.issuer().to_string(),
            serial: parsed
                .raw_serial()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            not_before: Timestamp::from_second(validity.not_before.timestamp())?,
            not_after: Timestamp::from_second(validity.not_after.timestamp())?,
            chain,
        })
    }

    /// Checks it as a TLS client that trusts `roots` (PEM) would, for a host and at a time.
    ///
    /// A wildcard host stands for one of the names below it.
    pub fn verify(&self, roots: &str, host: &str, now: Timestamp) -> Result<()> {
        let (leaf, intermediates) = self.chain.split_first().context("no certificate")?;
        let visited = host
            .strip_prefix("*.")
            .map_or_else(|| host.to_owned(), |parent| format!("any.{parent}"));
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_second().try_into()?));
        let verifier = WebPkiServerVerifier::builder(Arc::new(tls::store(roots)?)).build()?;
        verifier
            .verify_server_cert(leaf, intermediates, &ServerName::try_from(visited)?, &[], now)
            .with_context(|| format!("the certificate for {:?} does not do for {host}", self.names))?;
        Ok(())
    }

    /// Checks that a private key (PEM) belongs to it.
    pub fn verify_key(&self, key: &[u8]) -> Result<()> {
        let key = PrivateKeyDer::from_pem_slice(key)?;
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
        let public = signer.public_key().context("a private key has a public one")?;
        let leaf = self.chain.first().context("no certificate")?;
        if X509Certificate::from_der(leaf)?.1.public_key().raw != public.as_ref() {
            bail!(
                "the private key is not that of the certificate for {:?}",
                self.names
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Authority;

    #[test]
    fn a_certificate_is_good_for_its_names_its_root_and_its_key_alone() {
        let (authority, stranger) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
        let (pair, other) = (authority.server().unwrap(), authority.server().unwrap());
        let certificate = Certificate::read(pair.certificate.as_bytes()).unwrap();
        let now = Timestamp::now();
        assert_eq!(certificate.names, ["localhost"]);
        assert_eq!(certificate.issuer, "CN=ours");
        certificate.verify(&authority.root(), "localhost", now).unwrap();
        certificate.verify_key(pair.key.as_bytes()).unwrap();

        assert!(certificate.verify(&authority.root(), "a.test", now).is_err());
        assert!(certificate.verify(&stranger.root(), "localhost", now).is_err());
        assert!(
            certificate
                .verify(&authority.root(), "localhost", Timestamp::UNIX_EPOCH)
                .is_err()
        );
        assert!(certificate.verify_key(other.key.as_bytes()).is_err());
    }
}
