//! The same suite on BIND, Knot and PowerDNS: what stands in the zone afterwards, and what an operator reads when an update
//! is refused.

use faythe_bed::names::{self, Make, NameServer, Setup};
use faythe_bed::until;

use super::*;

mod changes;
mod refusals;
mod several;
mod ways;

/// Gives each test once for each make of server.
macro_rules! on_each_make {
    ($($test:ident),+ $(,)?) => {
        mod bind {
            $(#[tokio::test] async fn $test() { super::$test(super::Make::Bind).await; })+
        }
        mod knot {
            $(#[tokio::test] async fn $test() { super::$test(super::Make::Knot).await; })+
        }
        mod powerdns {
            $(#[tokio::test] async fn $test() { super::$test(super::Make::PowerDns).await; })+
        }
    };
}
pub(crate) use on_each_make;

/// For what takes milliseconds on a machine with nothing else to do.
const SOON: std::time::Duration = std::time::Duration::from_secs(20);

/// A server whose zone is `ZONE`, with a locked zone and a key that may change nothing.
async fn start(make: Make) -> NameServer {
    start_as(setup(make)).await
}

async fn start_as(setup: Setup) -> NameServer {
    NameServer::start(setup).await.unwrap()
}

fn setup(make: Make) -> Setup {
    Setup {
        locked: vec![LOCKED.to_owned()],
        strangers: vec![names::Key::new("stranger", names::Algorithm::HmacSha256)],
        ..Setup::one_zone(ZONE).of_make(make)
    }
}

/// A key of the server as Faythe reads it from its file.
pub(crate) fn read(key: &names::Key) -> Key {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key.file()).unwrap();
    faythe::dns::keyfile::read(file.path()).unwrap()
}

/// A client for `ZONE` with the server's key.
fn client_of(server: &NameServer) -> Client {
    client_for(server, ZONE, read(server.key().unwrap()), clock())
}

fn client_for(server: &NameServer, zone: &str, key: Key, now: Now) -> Client {
    client_at(&server.address().to_string(), zone, key, now)
}

fn client_at(server: &str, zone: &str, key: Key, now: Now) -> Client {
    let setup = ZoneSetup::new(apex(zone), server.parse().unwrap(), key);
    Client::new(vec![setup], now)
}

/// What stands at a host's challenge name, as dig sees it.
async fn shown(server: &NameServer, host: &str) -> Vec<String> {
    server.txt(&format!("_acme-challenge.{host}")).await.unwrap()
}
