//! X.509 at the edge: PEM to [`CertFacts`], keys and signing requests, and the check of a chain that was issued
//! (RFC 5280, RFC 2986, RFC 7468).
//!
//! Owns no decision: what a held certificate falls short of is judged in `faythe-core`. Deliberately absent:
//! signatures and trust stores. Who signed a certificate is the consumer's business; ours is that it covers the name,
//! belongs to the key and is in date.

use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use faythe_core::Timestamp;
use faythe_core::ari::CertificateId;
use faythe_core::cert::{CertFacts, Unreadable};
use faythe_core::name::Hostname;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::sealed::Sealed;

/// Reads the entries `cert` and `key` of a Secret (S05): the leaf is the first certificate, and the key must be its
/// own. Keys may be PKCS#8, PKCS#1 or SEC1; RSA, ECDSA or Ed25519.
///
/// # Errors
/// The first reason why they are no certificate with its key.
pub fn facts(cert: Option<&[u8]>, key: Option<&[u8]>) -> Result<CertFacts, Unreadable> {
    let cert = cert.ok_or(Unreadable::NoCert)?;
    let key = key.ok_or(Unreadable::NoKey)?;
    let leaf = CertificateDer::pem_slice_iter(cert)
        .next()
        .ok_or_else(|| Unreadable::BadCert("there is no section CERTIFICATE in it".to_owned()))?
        .map_err(|error| Unreadable::BadCert(error.to_string()))?;
    let leaf = parse(&leaf)?;
    belongs(key, &leaf)?;
    Ok(read(&leaf))
}

/// The leaf of a chain, DER; `chain` is PEM.
#[must_use]
pub fn leaf(chain: &[u8]) -> Option<Vec<u8>> {
    let first = CertificateDer::pem_slice_iter(chain).next()?.ok()?;
    Some(first.to_vec())
}

/// The serial number of a certificate, DER, as [`facts`] gives it.
///
/// # Errors
/// It is no certificate.
pub fn serial_of(der: &[u8]) -> Result<String, Unreadable> {
    Ok(read(&parse(&der.to_vec().into())?).serial)
}

/// Checks a chain fresh from the CA before it is stored; `chain` and `key` are PEM.
///
/// # Errors
/// The first reason why it must not be stored.
pub fn check_issued(chain: &str, key: &Sealed, host: &Hostname, now: Timestamp) -> Result<CertFacts, Unfit> {
    let sections: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Unreadable::BadCert(error.to_string()))?;
    // A consumer reads certificate and key with one parser: a CA could slip in a key of its own (RFC 8555 §11.4).
    if chain.matches("-----BEGIN").count() != sections.len() {
        return Err(Unfit::Foreign);
    }
    let certificates: Vec<_> = sections
        .iter()
        .map(|section| parse(section))
        .collect::<Result<_, _>>()?;
    let leaf = certificates
        .first()
        .ok_or_else(|| Unreadable::BadCert("the chain is empty".to_owned()))?;
    belongs(key.open(), leaf)?;

    let facts = read(leaf);
    if !facts.covers(host) {
        return Err(Unfit::OtherNames {
            host: host.clone(),
            names: facts.names,
        });
    }
    if now < facts.not_before {
        return Err(Unfit::NotYetValid {
            from: facts.not_before,
            now,
        });
    }
    if facts.not_after <= now {
        return Err(Unfit::Expired {
            at: facts.not_after,
            now,
        });
    }
    // Each one must certify the one before it (RFC 8555 §9.1); by name, because that is how consumers link them.
    for (at, pair) in certificates.windows(2).enumerate() {
        if let [below, above] = pair
            && below.issuer().as_raw() != above.subject().as_raw()
        {
            return Err(Unfit::Broken {
                place: at + 2,
                wanted: below.issuer().to_string(),
                found: above.subject().to_string(),
            });
        }
    }
    Ok(facts)
}

/// The common names of the issuers in a chain, PEM, leaf first; what cannot be read is left out.
#[must_use]
pub fn issuers(chain: &str) -> Vec<String> {
    CertificateDer::pem_slice_iter(chain.as_bytes())
        .filter_map(Result::ok)
        .filter_map(|section| {
            let certificate = parse(&section).ok()?;
            let mut names = certificate.issuer().iter_common_name();
            names.find_map(|name| name.as_str().ok().map(str::to_owned))
        })
        .collect()
}

/// Makes a private key (PKCS#8 PEM).
///
/// An RSA key takes a good part of a second of computing: call it where that blocks nobody.
///
/// # Errors
/// When the system's randomness or the crypto provider fails.
pub fn new_key(key_type: KeyType) -> Result<Sealed, KeyError> {
    let key = match key_type {
        KeyType::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyType::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
        KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
    }
    .map_err(KeyError::Make)?;
    Ok(key.serialize_pem().into())
}

/// Makes the signing request (DER) for `host` with a key that is there already, PEM.
///
/// # Errors
/// When `key` is no private key that can sign.
pub fn csr(host: &Hostname, key: &Sealed) -> Result<Vec<u8>, KeyError> {
    let der = PrivateKeyDer::from_pem_slice(key.open()).map_err(|_| KeyError::Unreadable)?;
    let key = KeyPair::try_from(&der).map_err(|_| KeyError::Unreadable)?;
    request(host, &key)
}

/// The kinds of key a certificate can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyType {
    /// ECDSA on the curve P-256.
    #[default]
    EcdsaP256,
    /// ECDSA on the curve P-384.
    EcdsaP384,
    /// RSA of 2048 bits, which the old tool made.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
}

/// Why a key or a signing request could not be made.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The crypto provider could not make a key.
    #[error("a private key cannot be made")]
    Make(#[source] rcgen::Error),
    /// The signing request could not be put together or signed.
    #[error("the certificate signing request for {host} cannot be made")]
    Request {
        /// For whom.
        host: Hostname,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// What was kept as a private key is none.
    #[error("the private key kept for the order is not a PEM private key")]
    Unreadable,
}

/// Why a chain that the CA issued is not stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// A certificate is not the issuer of the one before it.
    #[error(
        "certificate {place} of the chain is for {found:?}, but the one before it was issued by {wanted:?}"
    )]
    Broken {
        /// Which one, counted from 1.
        place: usize,
        /// The issuer's name in the certificate before.
        wanted: String,
        /// The name it has.
        found: String,
    },
    /// The certificate has ended already.
    #[error(
        "the certificate issued ended at {at}, and the clock here says {now}: one of the two clocks is wrong"
    )]
    Expired {
        /// End of its validity.
        at: Timestamp,
        /// Our clock.
        now: Timestamp,
    },
    /// There is something besides certificates in the chain.
    #[error("the chain issued holds something else than certificates")]
    Foreign,
    /// The certificate has not begun yet.
    #[error("the certificate issued begins at {from}, and the clock here says {now}: it seems to be slow")]
    NotYetValid {
        /// Start of its validity.
        from: Timestamp,
        /// Our clock.
        now: Timestamp,
    },
    /// The certificate is for other names.
    #[error("the certificate issued is not for {host} but for {names:?}")]
    OtherNames {
        /// The name that was ordered.
        host: Hostname,
        /// The names it is for.
        names: Vec<Hostname>,
    },
    /// It is no certificate, or not that of our key.
    #[error("the chain issued cannot be used: {0}")]
    Unreadable(#[from] Unreadable),
}

/// A text that names no [`KeyType`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no key type {0:?}; known are ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 and rsa-4096")]
pub struct UnknownKeyType(String);

impl KeyType {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// The name it has in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyType {
    type Err = UnknownKeyType;

    fn from_str(text: &str) -> Result<Self, UnknownKeyType> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| UnknownKeyType(text.to_owned()))
    }
}

/// Puts the signing request together: the name stands in the subject alternative names alone. A common name holds at
/// most 64 characters (RFC 5280, appendix A.1), and nobody reads it any more (P26).
fn request(host: &Hostname, key: &KeyPair) -> Result<Vec<u8>, KeyError> {
    let failed = |source| KeyError::Request {
        host: host.clone(),
        source,
    };
    let name = Ia5String::try_from(host.to_string()).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::DnsName(name)];
    let request = params.serialize_request(key).map_err(failed)?;
    Ok(request.der().to_vec())
}

/// Reads one certificate, to its last byte.
fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Unreadable> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(Unreadable::BadCert(format!(
            "{} bytes follow the certificate",
            rest.len()
        ))),
        Err(error) => Err(Unreadable::BadCert(error.to_string())),
    }
}

/// Whether the PEM `key` is the private half of the certificate's key: both say the same public key, byte for byte.
fn belongs(key: &[u8], certificate: &X509Certificate<'_>) -> Result<(), Unreadable> {
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Unreadable::BadKey)?;
    let key = any_supported_type(&key).map_err(|_| Unreadable::BadKey)?;
    let public = key.public_key().ok_or(Unreadable::BadKey)?;
    if public.as_ref() == certificate.public_key().raw {
        Ok(())
    } else {
        Err(Unreadable::KeyMismatch)
    }
}

/// Reduces a certificate to what decisions need.
fn read(certificate: &X509Certificate<'_>) -> CertFacts {
    // An unreadable extension leaves no names: such a certificate serves nobody.
    let names = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension
            .value
            .general_names
            .iter()
            .filter_map(|name| {
                if let GeneralName::DNSName(name) = name {
                    Hostname::parse(name).ok()
                } else {
                    None
                }
            })
            .collect(),
        Ok(None) | Err(_) => Vec::new(),
    };
    let common_name = certificate
        .issuer()
        .iter_common_name()
        .find_map(|name| name.as_str().ok().map(str::to_owned));
    CertFacts {
        names,
        not_before: instant(certificate.validity().not_before.timestamp()),
        not_after: instant(certificate.validity().not_after.timestamp()),
        serial: serial(certificate.raw_serial()),
        issuer: common_name.unwrap_or_else(|| certificate.issuer().to_string()),
        id: identifier(certificate),
    }
}

/// Names a certificate as ARI does: the key identifier of its issuer, and its serial number with the octet that says that
/// it is positive (RFC 9773 §4.1).
fn identifier(certificate: &X509Certificate<'_>) -> Option<CertificateId> {
    let issuer = certificate.extensions().iter().find_map(|extension| {
        if let ParsedExtension::AuthorityKeyIdentifier(key) = extension.parsed_extension() {
            Some(key.key_identifier.as_ref()?.0)
        } else {
            None
        }
    })?;
    let [issuer, serial] = [issuer, certificate.raw_serial()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    CertificateId::parse(&format!("{issuer}.{serial}")).ok()
}

/// Seconds since 1970 as a point in time. "No end" is written as the last second of the year 9999 (RFC 5280 §4.1.2.5),
/// which lies a day beyond what a [`Timestamp`] can say.
fn instant(seconds: i64) -> Timestamp {
    let seconds = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Writes a serial number in hexadecimal, without the octet that only says that it is positive.
fn serial(raw: &[u8]) -> String {
    let digits = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    digits.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests;
