//! Signatures of requests: account keys as JWK, and JWS in the flattened form (RFC 7515, 7517, 7518, 7638; RFC 8555 §6.2).
//!
//! Algorithms are those of RFC 8555 §6.2 that a CA is sure to know: ES256, ES384, and RS256; for external account bindings
//! HS256, HS384 and HS512 (RFC 8555 §7.3.4). Deliberately absent: Ed25519, which Let's Encrypt does not take (2026-08).

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _, RSA_PKCS1_SHA256,
};
use aws_lc_rs::{digest, hmac, rsa};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};
use thiserror::Error;

use crate::sealed::Sealed;
use crate::x509::KeyType;

/// The key of an account.
pub(super) struct Key {
    pair: Pair,
    /// The public key (RFC 7517), its members in the order that RFC 7638 §3 hashes them in.
    jwk: String,
    thumbprint: String,
}

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

/// How the CA knows who has signed (RFC 8555 §6.2).
#[derive(Clone, Copy, Debug)]
pub(super) enum Signer<'a> {
    /// By the public key itself: before there is an account.
    Jwk,
    /// By the account's URL.
    Account(&'a str),
}

/// The algorithm of an external account binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

/// What goes wrong with keys.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    /// What was kept is no key, or one of a kind that no CA takes.
    #[error("the saved account key is neither an ECDSA key (P-256, P-384) nor an RSA key in PKCS#8")]
    Unreadable,
    /// The crypto provider failed.
    #[error("the crypto provider fails")]
    Provider,
}

impl Key {
    /// Makes a new one, PKCS#8 DER. An RSA key takes a good part of a second of computing.
    pub(super) fn generate(kind: KeyType) -> Result<Sealed, KeyError> {
        let failed = |_| KeyError::Provider;
        let curve = |curve: &'static EcdsaSigningAlgorithm| -> Result<Vec<u8>, KeyError> {
            let document = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).map_err(failed)?;
            Ok(document.as_ref().to_vec())
        };
        let of_size = |size| -> Result<Vec<u8>, KeyError> {
            let pair = rsa::KeyPair::generate(size).map_err(failed)?;
            let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?;
            Ok(der.as_ref().to_vec())
        };
        let der = match kind {
            KeyType::EcdsaP256 => curve(&ECDSA_P256_SHA256_FIXED_SIGNING),
            KeyType::EcdsaP384 => curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
            KeyType::Rsa2048 => of_size(rsa::KeySize::Rsa2048),
            KeyType::Rsa3072 => of_size(rsa::KeySize::Rsa3072),
            KeyType::Rsa4096 => of_size(rsa::KeySize::Rsa4096),
        };
        der.map(Sealed::new)
    }

    /// Reads a saved key, whatever its kind.
    pub(super) fn read(saved: &Sealed) -> Result<Self, KeyError> {
        let der = saved.open();
        let curve = |curve: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::from_pkcs8(curve, der).ok();
        let pair = curve(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map(Pair::P256)
            .or_else(|| curve(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Pair::P384))
            .or_else(|| rsa::KeyPair::from_pkcs8(der).ok().map(Pair::Rsa))
            .ok_or(KeyError::Unreadable)?;
        let jwk = pair.jwk();
        let thumbprint = encode(digest::digest(&digest::SHA256, jwk.as_bytes()));
        Ok(Self {
            pair,
            jwk,
            thumbprint,
        })
    }

    /// What stands for the key in a key authorization (RFC 8555 §8.1).
    pub(super) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The public key.
    pub(super) fn jwk(&self) -> Value {
        // It is ours, and JSON.
        serde_json::from_str(&self.jwk).unwrap_or_default()
    }

    /// What kind of key it is, for people.
    pub(super) fn kind(&self) -> String {
        match &self.pair {
            Pair::P256(_) => "ecdsa-p256".to_owned(),
            Pair::P384(_) => "ecdsa-p384".to_owned(),
            Pair::Rsa(pair) => format!("rsa-{}", pair.public_modulus_len() * 8),
        }
    }

    /// Signs a request to `url`; an empty payload is a POST-as-GET (RFC 8555 §6.3). Only the inner signature of a key
    /// change has no nonce (RFC 8555 §7.3.5).
    pub(super) fn sign(
        &self,
        signer: Signer<'_>,
        nonce: Option<&str>,
        url: &str,
        payload: &[u8],
    ) -> Result<Value, KeyError> {
        let mut header = json!({ "alg": self.pair.algorithm(), "url": url });
        match signer {
            Signer::Jwk => header["jwk"] = self.jwk(),
            Signer::Account(url) => header["kid"] = url.into(),
        }
        if let Some(nonce) = nonce {
            header["nonce"] = nonce.into();
        }
        flattened(&header, payload, |input| self.pair.sign(input))
    }
}

/// Binds a new account to one that the CA knows otherwise: its public key, signed with the key that was agreed upon
/// (RFC 8555 §7.3.4).
pub(super) fn bind(
    key: &Key,
    algorithm: MacAlgorithm,
    kid: &str,
    mac: &Sealed,
    url: &str,
) -> Result<Value, KeyError> {
    let (name, hash) = match algorithm {
        MacAlgorithm::Hs256 => ("HS256", hmac::HMAC_SHA256),
        MacAlgorithm::Hs384 => ("HS384", hmac::HMAC_SHA384),
        MacAlgorithm::Hs512 => ("HS512", hmac::HMAC_SHA512),
    };
    let mac = hmac::Key::new(hash, mac.open());
    let header = json!({ "alg": name, "kid": kid, "url": url });
    flattened(&header, key.jwk.as_bytes(), |input| {
        Ok(hmac::sign(&mac, input).as_ref().to_vec())
    })
}

impl Pair {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Rsa(_) => "RS256",
        }
    }

    fn jwk(&self) -> String {
        let curve = |name: &str, pair: &EcdsaKeyPair| {
            // 0x04 and the two coordinates (SEC 1 §2.3.3).
            let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
            let (x, y) = point.split_at(point.len() / 2);
            format!(
                r#"{{"crv":"{name}","kty":"EC","x":"{}","y":"{}"}}"#,
                encode(x),
                encode(y)
            )
        };
        match self {
            Self::P256(pair) => curve("P-256", pair),
            Self::P384(pair) => curve("P-384", pair),
            Self::Rsa(pair) => {
                let public = pair.public_key();
                format!(
                    r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                    encode(public.exponent().big_endian_without_leading_zero()),
                    encode(public.modulus().big_endian_without_leading_zero())
                )
            }
        }
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match self {
            Self::P256(pair) | Self::P384(pair) => {
                let signature = pair.sign(&random, input).map_err(|_| KeyError::Provider)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature)
                    .map_err(|_| KeyError::Provider)?;
                Ok(signature)
            }
        }
    }
}

/// A JWS in the flattened form (RFC 7515 §7.2.2).
fn flattened(
    header: &Value,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, KeyError>,
) -> Result<Value, KeyError> {
    let (protected, payload) = (encode(header.to_string()), encode(payload));
    let signature = sign(format!("{protected}.{payload}").as_bytes())?;
    Ok(json!({ "protected": protected, "payload": payload, "signature": encode(signature) }))
}

/// Base64url without padding (RFC 7515 §2).
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> impl AsRef<[u8]> {
    digest::digest(&digest::SHA256, bytes)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    };

    use super::*;

    fn decoded(jws: &Value, part: &str) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD
            .decode(jws[part].as_str().unwrap())
            .unwrap()
    }

    fn input(jws: &Value) -> String {
        format!(
            "{}.{}",
            jws["protected"].as_str().unwrap(),
            jws["payload"].as_str().unwrap()
        )
    }

    #[test]
    fn every_kind_of_key_signs_what_its_public_half_verifies() {
        for (kind, name) in [
            (KeyType::EcdsaP256, "ES256"),
            (KeyType::EcdsaP384, "ES384"),
            (KeyType::Rsa2048, "RS256"),
        ] {
            let key = Key::read(&Key::generate(kind).unwrap()).unwrap();
            assert_eq!(key.kind(), kind.to_string());
            let jws = key
                .sign(
                    Signer::Account("https://ca.test/1"),
                    Some("n"),
                    "https://ca.test/x",
                    b"{}",
                )
                .unwrap();
            let header: Value = serde_json::from_slice(&decoded(&jws, "protected")).unwrap();
            let expected =
                json!({ "alg": name, "kid": "https://ca.test/1", "nonce": "n", "url": "https://ca.test/x" });
            assert_eq!(header, expected);
            assert_eq!(decoded(&jws, "payload"), b"{}");
            let signature = decoded(&jws, "signature");
            let verified = match &key.pair {
                Pair::P256(pair) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key())
                    .verify(input(&jws).as_bytes(), &signature),
                Pair::P384(pair) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, pair.public_key())
                    .verify(input(&jws).as_bytes(), &signature),
                Pair::Rsa(pair) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key())
                    .verify(input(&jws).as_bytes(), &signature),
            };
            verified.unwrap();
        }
    }

    #[test]
    fn a_jwk_is_what_its_thumbprint_hashes() {
        for kind in [KeyType::EcdsaP256, KeyType::Rsa2048] {
            let key = Key::read(&Key::generate(kind).unwrap()).unwrap();
            // RFC 7638 §3: members in order, nothing between them; serde_json writes maps in order.
            assert_eq!(key.jwk().to_string(), key.jwk);
            assert_eq!(key.thumbprint().len(), 43);
            let debug = format!("{key:?}");
            assert!(debug.contains(key.thumbprint()) && debug.len() < 100, "{debug}");
        }
    }

    #[test]
    fn keys_of_other_kinds_are_refused() {
        for other in [
            &b""[..],
            b"no key",
            EcdsaKeyPair::generate_pkcs8(
                &aws_lc_rs::signature::ECDSA_P521_SHA512_FIXED_SIGNING,
                &SystemRandom::new(),
            )
            .unwrap()
            .as_ref(),
        ] {
            let read = Key::read(&Sealed::new(other.to_vec()));
            assert!(matches!(read, Err(KeyError::Unreadable)));
        }
    }

    #[test]
    fn a_binding_signs_the_public_key_with_what_was_agreed_upon() {
        let key = Key::read(&Key::generate(KeyType::EcdsaP256).unwrap()).unwrap();
        let mac = Sealed::new(b"agreed".to_vec());
        for (algorithm, name, hash) in [
            (MacAlgorithm::Hs256, "HS256", hmac::HMAC_SHA256),
            (MacAlgorithm::Hs384, "HS384", hmac::HMAC_SHA384),
            (MacAlgorithm::Hs512, "HS512", hmac::HMAC_SHA512),
        ] {
            let jws = bind(&key, algorithm, "kid-1", &mac, "https://ca.test/new").unwrap();
            let header: Value = serde_json::from_slice(&decoded(&jws, "protected")).unwrap();
            assert_eq!(
                header,
                json!({ "alg": name, "kid": "kid-1", "url": "https://ca.test/new" })
            );
            assert_eq!(decoded(&jws, "payload"), key.jwk.as_bytes());
            let mac = hmac::Key::new(hash, b"agreed");
            hmac::verify(&mac, input(&jws).as_bytes(), &decoded(&jws, "signature")).unwrap();
        }
    }
}
