//! Everything outside of Faythe, in memory: a CA, a zone and a store, which outlive the processes that use them.
//!
//! Each call is written into one journal, and a fuse can end the process at any of them, before or after its effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use faythe::ca::{Ca, CaError, CaOrder, NewOrder, Revocation};
use faythe::sealed::Sealed;
use faythe::store::{Saved, SavedAccount, Slot, Stamp, Store, StoreError};
use faythe::x509;
use faythe_core::ari::{CertificateId, RenewalInfo};
use faythe_core::budget::{Exemption, Grant, Record};
use faythe_core::caa;
use faythe_core::cas::CaKey;
use faythe_core::cert::{Held, Origin};
use faythe_core::name::{Hostname, RecordName};
use faythe_core::order::{ChallengeValue, OrderStatus};
use faythe_core::route::Found;
use faythe_core::schedule::RESOLVER_CACHE;
use faythe_core::world::SavedWindow;
use faythe_core::zone::Zones;
use futures::FutureExt;
use futures::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::sync::Notify;
use tokio::time::Instant;

mod dns;
mod faults;
mod session;
mod shown;

pub(crate) use faults::Faults;

/// What is shared between the in-memory parts, and what one process knows of the notes.
#[derive(Clone)]
pub(crate) struct Place(Arc<Shared>, Arc<Mutex<BTreeMap<Hostname, u64>>>);

struct Shared {
    state: Mutex<State>,
    crashed: Notify,
    /// Told when updates may succeed again.
    pub(crate) repaired: Notify,
    issuer: Issuer<'static, KeyPair>,
}

/// Where things stand.
#[derive(Default)]
pub(crate) struct State {
    /// Every call, in order.
    pub(crate) journal: Vec<String>,
    /// At which call, counted from 1 over all processes, the process ends, and on which side of its effect.
    pub(crate) fuse: Option<(usize, Side)>,
    /// What the update server says of names at which it has more to say than that nothing stands there.
    pub(crate) aliases: BTreeMap<RecordName, Found>,
    /// The CAA records at the top of the zone.
    pub(crate) caa: Vec<caa::Record>,
    /// What the CA's resolver has seen there, and when.
    resolved: BTreeMap<RecordName, (Instant, BTreeSet<String>)>,
    /// What stands in the zone.
    pub(crate) txt: BTreeMap<RecordName, BTreeSet<String>>,
    /// Orders at the CA.
    pub(crate) orders: Vec<Order>,
    /// Certificates in the store.
    pub(crate) secrets: BTreeMap<Hostname, Held>,
    /// Places that are somebody else's.
    pub(crate) foreign: BTreeSet<Hostname>,
    /// Notes in the store.
    pub(crate) notes: BTreeMap<Hostname, Saved>,
    note_versions: BTreeMap<Hostname, u64>,
    /// What happens at which call, before its effect.
    pub(crate) at_call: Option<(usize, Box<dyn FnOnce() + Send>)>,
    /// The saved ledger.
    pub(crate) ledger: Option<Record>,
    /// The saved windows.
    pub(crate) windows: Vec<SavedWindow>,
    /// What the CA says about the renewal of every certificate; `None` for a CA without ARI.
    pub(crate) renewal: Option<RenewalInfo>,
    /// How often it has been asked about that.
    pub(crate) questions: usize,
    /// How many orders have named a certificate that they replace.
    pub(crate) replacing: usize,
    /// How the parts misbehave.
    pub(crate) faults: Faults,
    versions: u64,
}

/// On which side of a call's effect the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// An order at the CA.
pub(crate) struct Order {
    pub(crate) status: OrderStatus,
    /// Whether the CA was told that it may look.
    pub(crate) told: bool,
    value: ChallengeValue,
    chain: Option<String>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(
            Arc::new(Shared {
                state: Mutex::default(),
                crashed: Notify::new(),
                repaired: Notify::new(),
                issuer: Issuer::new(root, key),
            }),
            Arc::default(),
        )
    }

    /// The same for another process, which knows nothing yet.
    pub(crate) fn another(&self) -> Self {
        Self(Arc::clone(&self.0), Arc::default())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Tells that updates may succeed again.
    pub(crate) fn repair(&self) {
        self.0.repaired.notify_one();
    }

    /// Waits until the fuse has blown.
    pub(crate) async fn crashed(&self) {
        self.0.crashed.notified().await;
    }

    /// One call: its line in the journal, the fuse, the effect.
    async fn call<T>(&self, line: String, effect: impl FnOnce(&mut State) -> T) -> T {
        let blown = {
            let mut state = self.state();
            state.journal.push(line);
            let count = state.journal.len();
            if let Some((_, happen)) = state.at_call.take_if(|(at, _)| *at == count) {
                happen();
            }
            state.fuse.take_if(|(at, _)| *at == count).map(|(_, side)| side)
        };
        if blown == Some(Side::Before) {
            self.end().await;
        }
        let result = effect(&mut self.state());
        if blown == Some(Side::After) {
            self.end().await;
        }
        tokio::task::yield_now().await;
        result
    }

    async fn end(&self) {
        self.0.crashed.notify_one();
        std::future::pending().await
    }
}

impl Order {
    /// Whether the CA was told to make the certificate.
    pub(crate) fn is_used(&self) -> bool {
        self.chain.is_some()
    }
}

impl State {
    /// Whether a call was made.
    pub(crate) fn calls(&self, start: &str) -> usize {
        self.journal.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Whether the CA answers a call.
    fn ca_answers(&mut self, call: &str) -> Result<(), CaError> {
        let without_leave = &mut self.faults.without_leave;
        if let Some(at) = without_leave.iter().position(|start| call.starts_with(start)) {
            without_leave.remove(at);
            return Err(CaError::NoLeave);
        }
        let missed = self
            .faults
            .ca_misses
            .iter()
            .position(|start| call.starts_with(start));
        if let Some(missed) = missed {
            self.faults.ca_misses.remove(missed);
        }
        if missed.is_some() || self.faults.ca_is_away {
            return Err(CaError::Unreachable {
                url: "https://ca".into(),
                source: "no route".into(),
            });
        }
        Ok(())
    }

    /// Whether the CA sees a value: its resolver remembers for as long as `core::schedule` says what it saw before.
    fn ca_sees(&mut self, wanted: &ChallengeValue) -> bool {
        let memory = Duration::try_from(RESOLVER_CACHE).unwrap();
        self.resolved.retain(|_, (since, _)| since.elapsed() < memory);
        let record = end_of(&self.aliases, &wanted.record);
        let stands = || self.txt.get(&record).cloned().unwrap_or_default();
        let (_, seen) = self
            .resolved
            .entry(record.clone())
            .or_insert_with(|| (Instant::now(), stands()));
        seen.contains(&wanted.value)
    }

    fn version(&mut self) -> Box<str> {
        self.versions += 1;
        self.versions.to_string().into()
    }
}

impl Ca for Place {
    fn open<'a>(
        &'a self,
        grant: Grant,
        wanted: NewOrder<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>> {
        async move {
            let host = grant.host();
            let (number, unread) = self
                .call(format!("open {host}"), |state| {
                    state.ca_answers("open")?;
                    if let Some(problem) = &state.faults.refuse_orders {
                        let named = grant.exemption() == Exemption::Window;
                        let refused = [CaError::Refused, CaError::Irreplaceable][usize::from(named)];
                        return Err(refused(problem.clone()));
                    }
                    state.replacing += usize::from(wanted.replaces.is_some());
                    let number = state.orders.len();
                    let status = state.faults.born.pop();
                    state.orders.push(Order {
                        status: status.unwrap_or(OrderStatus::Pending),
                        told: false,
                        value: ChallengeValue {
                            record: host.challenge_record(),
                            value: format!("value{number}"),
                        },
                        chain: None,
                    });
                    Ok((number, state.ca_answers("read").err()))
                })
                .await?;
            let (url, expires) = (number.to_string(), None);
            let unread = unread.map(Arc::new);
            let unread = unread.map(|source| CaError::Unread { url, expires, source });
            unread.map_or(Ok(self.session(number)), Err)
        }
        .boxed()
    }

    fn resume<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>> {
        async move {
            let number = self
                .call(format!("resume {url}"), |state| {
                    state.ca_answers("resume")?;
                    Ok(url.parse().unwrap())
                })
                .await?;
            Ok(self.session(number))
        }
        .boxed()
    }

    fn directory(&self) -> &str {
        "https://ca/directory"
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), CaError>> {
        async { Ok(()) }.boxed()
    }

    fn renewal_info<'a>(
        &'a self,
        _: &'a CertificateId,
    ) -> BoxFuture<'a, Result<Option<RenewalInfo>, CaError>> {
        async {
            let mut state = self.state();
            state.questions += 1;
            let refused = state.faults.refuse_questions.clone().map(CaError::Refused);
            refused.map_or_else(|| Ok(state.renewal.clone()), Err)
        }
        .boxed()
    }

    fn issuer(&self) -> BoxFuture<'_, Result<caa::Issuer, CaError>> {
        let identities = vec!["ca.test".to_owned()];
        async {
            Ok(caa::Issuer {
                identities,
                account: None,
            })
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, _: &'a [u8], _: Revocation) -> BoxFuture<'a, Result<(), CaError>> {
        async { Ok(()) }.boxed()
    }
}

impl Place {
    /// Another process leaves a note, and this one is not told.
    pub(crate) fn slip_in(&self, saved: Saved) {
        let mut state = self.state();
        state.versions += 1;
        let (host, version) = (saved.host.clone(), state.versions);
        state.note_versions.insert(host.clone(), version);
        state.notes.insert(host, saved);
    }

    /// Refuses to touch a note that another process has written since it was looked at.
    fn check_note(&self, state: &State, host: &Hostname) -> Result<(), StoreError> {
        if self.1.lock().unwrap().get(host) == state.note_versions.get(host) {
            return Ok(());
        }
        let object = format!("note of {host}");
        Err(StoreError::Conflict { object })
    }

    fn learn(&self, state: &State, host: &Hostname) {
        let mut known = self.1.lock().unwrap();
        match state.note_versions.get(host) {
            Some(version) => known.insert(host.clone(), *version),
            None => known.remove(host),
        };
    }

    fn session(&self, number: usize) -> Box<dyn CaOrder> {
        let view = self.state().view(number);
        Box::new(session::Session {
            place: self.clone(),
            number,
            url: number.to_string(),
            view,
        })
    }
}

/// Where the CA ends up that looks a name up.
fn end_of(aliases: &BTreeMap<RecordName, Found>, record: &RecordName) -> RecordName {
    match aliases.get(record) {
        Some(Found::Alias { target }) => RecordName::parse(target).unwrap(),
        Some(_) | None => record.clone(),
    }
}

impl Store for Place {
    fn slot<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<Slot, StoreError>> {
        self.call(format!("slot {host}"), move |state| {
            if state.foreign.contains(host) {
                return Ok(Slot::Foreign("the Secret lacks the label".into()));
            }
            Ok(state.secrets.get(host).cloned().map_or(Slot::Vacant, Slot::Ours))
        })
        .boxed()
    }

    fn keep<'a>(
        &'a self,
        host: &'a Hostname,
        slot: &'a Slot,
        chain: &'a str,
        key: &'a Sealed,
        stamp: Stamp<'a>,
    ) -> BoxFuture<'a, Result<Held, StoreError>> {
        self.call(format!("keep {host}"), move |state| {
            let object = format!("Secret {host}");
            if state.faults.store_is_away {
                return Err(StoreError::Unavailable {
                    object,
                    retry_after: None,
                    source: "gone".into(),
                });
            }
            let seen = state.secrets.get(host).cloned().map_or(Slot::Vacant, Slot::Ours);
            if seen != *slot || state.foreign.contains(host) {
                return Err(StoreError::Conflict { object });
            }
            let held = Held {
                secret: host.to_string().into(),
                version: state.version(),
                content: x509::facts(Some(chain.as_bytes()), Some(key.open())),
                issued_at: Some(stamp.at),
                renew: None,
                made_by: Some(CaKey::of(stamp.by)),
                origin: Origin::of(stamp.early, stamp.profile),
            };
            state.secrets.insert(host.clone(), held.clone());
            Ok(held)
        })
        .boxed()
    }

    fn notes(&self) -> BoxFuture<'_, Result<Vec<Saved>, StoreError>> {
        self.call("notes".into(), |state| {
            *self.1.lock().unwrap() = state.note_versions.clone();
            Ok(state.notes.values().cloned().collect())
        })
        .boxed()
    }

    // Told without an entry in the journal: it is asked again and again, by the clock alone.
    fn strays<'a>(&'a self, zones: &'a Zones) -> BoxFuture<'a, Result<BTreeSet<String>, StoreError>> {
        let known = self.1.lock().unwrap().clone();
        let state = self.state();
        let there = state
            .note_versions
            .keys()
            .filter(|host| !known.contains_key(host) && zones.of(host.base()).is_some());
        let strays = there.map(ToString::to_string).collect();
        async { Ok(strays) }.boxed()
    }

    fn note<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<Option<Saved>, StoreError>> {
        self.call(format!("note {host}"), move |state| {
            self.learn(state, host);
            Ok(state.notes.get(host).cloned())
        })
        .boxed()
    }

    fn save<'a>(&'a self, saved: &'a Saved) -> BoxFuture<'a, Result<(), StoreError>> {
        let what = if saved.order.is_some() { "note" } else { "failure" };
        self.call(format!("save {what} {}", saved.host), move |state| {
            self.check_note(state, &saved.host)?;
            let object = format!("the note of {}", saved.host);
            if state.faults.spoilt_notes.contains(&saved.host) {
                let what = "it is of a later version".into();
                return Err(StoreError::Unreadable { object, what });
            }
            if state.faults.refuse_notes {
                let reason = "exceeded quota".into();
                return Err(StoreError::Refused { object, reason });
            }
            state.notes.insert(saved.host.clone(), saved.clone());
            state.versions += 1;
            state.note_versions.insert(saved.host.clone(), state.versions);
            self.learn(state, &saved.host);
            state.faults.answer_note(&saved.host)
        })
        .boxed()
    }

    fn forget<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(format!("forget {host}"), move |state| {
            if state.notes.contains_key(host) {
                self.check_note(state, host)?;
            }
            state.notes.remove(host);
            state.note_versions.remove(host);
            self.learn(state, host);
            state.faults.answer_note(host)
        })
        .boxed()
    }

    fn ledger<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.call("ledger".into(), |state| Ok(state.ledger.clone()))
            .boxed()
    }

    fn save_ledger<'a>(&'a self, _: &'a str, record: &'a Record) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call("save ledger".into(), move |state| {
            state.ledger = Some(record.clone());
            Ok(())
        })
        .boxed()
    }

    fn windows(&self) -> BoxFuture<'_, Result<Vec<SavedWindow>, StoreError>> {
        self.call("windows".into(), |state| Ok(state.windows.clone()))
            .boxed()
    }

    fn save_windows<'a>(&'a self, windows: &'a [SavedWindow]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call("save windows".into(), move |state| {
            state.windows = windows.to_vec();
            Ok(())
        })
        .boxed()
    }

    fn account<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<SavedAccount>, StoreError>> {
        async { Ok(None) }.boxed()
    }

    fn save_account<'a>(&'a self, _: &'a SavedAccount) -> BoxFuture<'a, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }

    fn replace_account<'a>(
        &'a self,
        _: &'a SavedAccount,
        _: &'a SavedAccount,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}
