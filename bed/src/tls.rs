//! Certificates for the servers' own HTTPS, and for clients that authenticate with one.

use std::ops::Range;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A certificate and its key, both in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, as PKCS #8.
    pub key: String,
}

/// A certificate authority that lives as long as the server it was made for.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes one with a new key.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = subject(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// The certificate to trust, in PEM.
    pub fn root(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate for an authority below this one.
    pub fn intermediate(&self, name: &str) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = subject(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Issues a certificate for a server on 127.0.0.1.
    pub fn server(&self) -> Result<Pair> {
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        self.issue(
            params,
            "faythe-bed server",
            None,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// Issues a certificate by which kube-apiserver knows a client as a user, perhaps of a group.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Pair> {
        let params = CertificateParams::new(Vec::new())?;
        self.issue(params, user, group, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Issues a certificate for hosts, valid from the beginning of one year to that of another.
    pub fn for_hosts(&self, hosts: &[&str], years: Range<i32>) -> Result<Pair> {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        self.issue(
            params,
            "faythe-bed host",
            None,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        name: &str,
        group: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair> {
        let key = KeyPair::generate()?;
        params.distinguished_name = subject(name, group);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// The subject in which kube-apiserver finds a user (CN) and a group (O).
///
/// It would take several groups, but rcgen keeps one value of each type of attribute.
fn subject(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject
}

/// A client that trusts `roots` (PEM) and nothing else.
pub fn client(roots: &str) -> Result<ClientConfig> {
    Ok(ClientConfig::builder()
        .with_root_certificates(store(roots)?)
        .with_no_client_auth())
}

/// The certificates of a PEM text as trust anchors.
pub fn store(roots: &str) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root.context("roots are not PEM")?)?;
    }
    Ok(store)
}
