//! The DNS adapter against a real BIND: updates, signatures, look-ups, and a server that comes and goes.
//!
//! Needs `named` and `dig` (Debian: bind9, bind9-dnsutils); without them every test fails.

// Lets clippy know that the helpers are tests too.
#![cfg(test)]
// The real clock is what a real server goes by.
#![expect(clippy::disallowed_methods, reason = "a test hands the clock in")]

use std::collections::BTreeSet;
use std::sync::Arc;

use faythe::dns::client::{Client, Now, ZoneSetup};
use faythe::dns::tsig::{Algorithm, Key};
use faythe::dns::{Dns, DnsError, Foreign, LookError, UpdateFault};
use faythe::sealed::Sealed;
use faythe_core::Timestamp;
use faythe_core::name::{DnsName, RecordName};
use faythe_core::zone::{Check, Role};
use futures::future::join_all;

mod crosscheck;
mod elsewhere;
mod faults;
mod guides;
mod named;
mod secondaries;
mod servers;
mod signatures;
mod updates;
mod ways;

use named::{Named, SECRET};

/// The zone that takes updates of TXT records from all keys named `KEY`.
const ZONE: &str = "example.test";
/// The zone whose policy lets nobody update.
const LOCKED: &str = "locked.test";

fn apex(name: &str) -> DnsName {
    name.parse().unwrap()
}

fn record(host: &str) -> RecordName {
    RecordName::parse(&format!("_acme-challenge.{host}")).unwrap()
}

fn key(algorithm: Algorithm) -> Key {
    Key::new(
        &format!("key-{}", algorithm.as_str()),
        algorithm,
        0,
        Sealed::new(SECRET.to_vec()),
    )
    .unwrap()
}

fn clock() -> Now {
    Arc::new(Timestamp::now)
}

/// A client of `named` for one zone, with everything else as it should be.
fn client(named: &Named) -> Client {
    client_with(named, ZONE, key(Algorithm::HmacSha256), clock())
}

fn client_with(named: &Named, zone: &str, key: Key, now: Now) -> Client {
    let server = named.address().parse().unwrap();
    Client::new(vec![ZoneSetup::new(apex(zone), server, key)], now)
}

async fn publish(client: &Client, host: &str, value: &str) -> Result<(), DnsError> {
    client
        .publish(&apex(ZONE), &record(host), value, Foreign::Removed)
        .await
}

async fn withdraw(client: &Client, host: &str, value: &str) -> Result<(), DnsError> {
    client.withdraw(&apex(ZONE), &record(host), value).await
}

async fn look(client: &Client, named: &Named, host: &str) -> Result<BTreeSet<String>, LookError> {
    look_at(client, &named.address(), host).await
}

async fn look_at(client: &Client, server: &str, host: &str) -> Result<BTreeSet<String>, LookError> {
    let check = Check::of(Role::Update, server);
    let answer = client.look(&apex(ZONE), &check, &record(host)).await?;
    Ok(answer.values.into_iter().collect())
}

fn values<const N: usize>(values: [&str; N]) -> BTreeSet<String> {
    values.map(str::to_owned).into()
}

/// What an update of `ZONE` is refused with.
#[track_caller]
fn cause(outcome: Result<(), DnsError>) -> UpdateFault {
    outcome.unwrap_err().cause
}
