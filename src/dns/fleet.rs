//! The servers that take a zone's updates: which of them to try, in which order, and what was learned of each.
//!
//! Must not send: that is `courier`'s.
//!
//! Deliberately absent: several messages at once on one connection. What waits for a zone travels in one message, and
//! zones that are written to at the same time get a few connections, since a server may work on them side by side.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::dns::primary::Finder;
use crate::dns::send::Link;
use crate::dns::server::ServerAddr;

/// Connections to one server: far below the 10 that BIND lets wait to be accepted.
const LANES: usize = 4;

/// One server, shared by all zones that it takes updates of.
pub(crate) struct Server {
    pub(crate) addr: ServerAddr,
    lanes: Mutex<Vec<Arc<tokio::sync::Mutex<Link>>>>,
    learned: Mutex<Learned>,
}

/// What a server's answers have taught.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    /// Seconds to add to our clock for signatures.
    pub(crate) offset_secs: i64,
    /// It does not understand EDNS.
    pub(crate) plain: bool,
}

impl Server {
    fn new(addr: ServerAddr) -> Self {
        Self {
            addr,
            lanes: Mutex::default(),
            learned: Mutex::default(),
        }
    }

    /// A connection that nobody else uses, the same one as long as that is enough; waits when there are too many.
    pub(crate) async fn lane(&self) -> OwnedMutexGuard<Link> {
        let busy = {
            let mut lanes = lock(&self.lanes);
            for lane in lanes.iter() {
                if let Ok(free) = Arc::clone(lane).try_lock_owned() {
                    return free;
                }
            }
            if lanes.len() < LANES {
                lanes.push(Arc::new(Link::new(self.addr.clone()).into()));
            }
            lanes.last().map(Arc::clone)
        };
        match busy {
            Some(lane) => lane.lock_owned().await,
            // There is always one; should there be none, a connection of one's own does as well.
            None => {
                Arc::new(tokio::sync::Mutex::new(Link::new(self.addr.clone())))
                    .lock_owned()
                    .await
            }
        }
    }

    pub(crate) fn learned(&self) -> Learned {
        *lock(&self.learned)
    }

    pub(crate) fn learn(&self, learned: Learned) {
        *lock(&self.learned) = learned;
    }
}

/// All servers of all zones.
#[derive(Default)]
pub(crate) struct Pool(Mutex<BTreeMap<ServerAddr, Arc<Server>>>);

impl Pool {
    /// The server at `addr`, the same for everybody.
    pub(crate) fn server(&self, addr: &ServerAddr) -> Arc<Server> {
        let mut pool = lock(&self.0);
        let server = pool
            .entry(addr.clone())
            .or_insert_with(|| Arc::new(Server::new(addr.clone())));
        Arc::clone(server)
    }
}

/// The servers of one zone.
pub(crate) struct Fleet {
    /// Finds the primary, which comes before the rest; for zones whose SOA names it.
    primary: Option<Finder>,
    servers: Vec<Arc<Server>>,
    /// The one that took the last update; it is tried first.
    good: Mutex<Option<Arc<Server>>>,
}

impl Fleet {
    pub(crate) fn new(addrs: &[ServerAddr], primary: Option<Finder>, pool: &Pool) -> Self {
        let mut servers: Vec<Arc<Server>> = Vec::new();
        for addr in addrs {
            let server = pool.server(addr);
            if !servers.iter().any(|known| Arc::ptr_eq(known, &server)) {
                servers.push(server);
            }
        }
        Self {
            primary,
            servers,
            good: Mutex::default(),
        }
    }

    /// In the order in which they are to be tried.
    pub(crate) async fn servers(&self) -> Vec<Arc<Server>> {
        let mut servers = match &self.primary {
            Some(primary) => primary.servers().await,
            None => Vec::new(),
        };
        for server in &self.servers {
            if !servers.iter().any(|known| Arc::ptr_eq(known, server)) {
                servers.push(Arc::clone(server));
            }
        }
        if let Some(good) = &*lock(&self.good) {
            servers.sort_by_key(|server| !Arc::ptr_eq(server, good));
        }
        servers
    }

    /// Takes in that `server` has taken an update.
    pub(crate) fn prefer(&self, server: &Arc<Server>) {
        *lock(&self.good) = Some(Arc::clone(server));
    }

    /// Whether `server` has taken the last update.
    pub(crate) fn prefers(&self, server: &Arc<Server>) -> bool {
        lock(&self.good)
            .as_ref()
            .is_some_and(|good| Arc::ptr_eq(good, server))
    }

    /// Takes in that no server has taken an update.
    pub(crate) fn failed(&self) {
        if let Some(primary) = &self.primary {
            primary.forget();
        }
    }

    /// What people call them.
    pub(crate) fn name(&self) -> String {
        let names: Vec<String> = self
            .servers
            .iter()
            .map(|server| server.addr.to_string())
            .collect();
        names.join(", ")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> ServerAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn p14_the_server_that_took_the_last_update_comes_first_and_the_rest_as_configured() {
        let pool = Pool::default();
        let fleet = Fleet::new(
            &[
                addr("ns1.test"),
                addr("ns2.test"),
                addr("ns1.test"),
                addr("[::1]:5300"),
            ],
            None,
            &pool,
        );
        let order = async |fleet: &Fleet| -> Vec<String> {
            let servers = fleet.servers().await;
            servers.iter().map(|server| server.addr.to_string()).collect()
        };
        assert_eq!(order(&fleet).await, ["ns1.test", "ns2.test", "[::1]:5300"]);
        let third = Arc::clone(&fleet.servers().await[2]);
        fleet.prefer(&third);
        assert_eq!(order(&fleet).await, ["[::1]:5300", "ns1.test", "ns2.test"]);
        assert_eq!(fleet.name(), "ns1.test, ns2.test, [::1]:5300");
    }

    #[tokio::test]
    async fn p13_a_server_gets_few_connections_and_one_while_that_is_enough() {
        let server = Server::new(addr("ns1.test"));
        for _ in 0..3 {
            drop(server.lane().await);
        }
        assert_eq!(lock(&server.lanes).len(), 1);
        let mut held = Vec::new();
        for _ in 0..LANES {
            held.push(server.lane().await);
        }
        {
            let mut waiting = std::pin::pin!(server.lane());
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        held.clear();
        drop(server.lane().await);
        assert_eq!(lock(&server.lanes).len(), LANES);
    }
}
