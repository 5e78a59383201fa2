//! TSIG keys and the files that hold them.
//!
//! Not those of `src/dns/tsig.rs`, though alike: what checks the program knows the algorithms' names by itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs;

/// What BIND calls an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Algorithm {
    HmacMd5,
    HmacSha1,
    HmacSha224,
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl Algorithm {
    /// All that BIND knows.
    pub const ALL: [Self; 6] = [
        Self::HmacMd5,
        Self::HmacSha1,
        Self::HmacSha224,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
    ];

    /// The name in key files.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacMd5 => "hmac-md5",
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha224 => "hmac-sha224",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

/// A key that a name server and its client share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    name: String,
    algorithm: Algorithm,
    secret: String,
}

impl Key {
    /// Makes one with a random secret.
    pub fn new(name: &str, algorithm: Algorithm) -> Self {
        let mut secret = [0; 32];
        // aws-lc's generator fails only where the kernel has no randomness at all; named then refuses the key.
        let _ = aws_lc_rs::default_provider().secure_random.fill(&mut secret);
        Self {
            name: name.to_owned(),
            algorithm,
            secret: STANDARD.encode(secret),
        }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What signs with it.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The secret, in base64.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The text of a key file, as tsig-keygen writes it.
    pub fn file(&self) -> String {
        let Self {
            name,
            algorithm,
            secret,
        } = self;
        format!(
            "key \"{name}\" {{\n\talgorithm {};\n\tsecret \"{secret}\";\n}};\n",
            algorithm.name()
        )
    }
}
