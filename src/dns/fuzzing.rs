//! Entries for fuzz tests of what name servers and key files say; see `crate::fuzzing`.

use std::path::Path;

use faythe_core::Timestamp;
use faythe_core::name::DnsName;
use faythe_core::zone::Role;

use crate::dns::query::Reply;
use crate::dns::tsig::{Algorithm, Key, sign};
use crate::dns::{authority, caa, keyfile, lookup, primary, route, survey, update};
use crate::sealed::Sealed;

/// The ID of the update that answers are taken for, so that a corpus can bear it.
const ID: u16 = 0x1234;

/// An answer to a look, or to a question about a zone, its servers, or where a challenge goes.
pub fn answer_to_query(bytes: &[u8]) {
    let reply = Reply::of(bytes);
    for role in [Role::Update, Role::Authoritative, Role::Listed] {
        drop(lookup::read(&reply, role));
    }
    let Ok(name) = update::wire_name("_acme-challenge.www.example.com") else {
        return;
    };
    if let Ok(apex) = DnsName::parse("example.com") {
        drop(route::read(&reply, &apex, &name));
    }
    if let Ok(message) = reply.message() {
        drop(survey::delegation(message, &name));
        drop(authority::read(message, &name));
        drop(caa::read(message, &name));
        drop(primary::mname(message, &name));
    }
}

/// An answer to an update. Nobody here has the key, so nothing is ever taken as success.
pub fn answer_to_update(bytes: &[u8]) {
    let secret = Sealed::new(b"a secret that no corpus was signed with".to_vec());
    let Ok(key) = Key::new("faythe", Algorithm::HmacSha256, 0, secret) else {
        return;
    };
    let header = vec![0, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let request = sign(header, ID, &key, Timestamp::UNIX_EPOCH);
    let outcome = update::interpret(&request, bytes, Some(&key), Timestamp::UNIX_EPOCH);
    assert!(outcome.is_err(), "an answer that nobody signed counts as success");
}

/// A file with a key, in any of its forms; for a pair, both halves at once.
pub fn key_file(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        keyfile::try_all(Path::new("update.key"), text);
    }
}
