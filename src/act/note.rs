//! Noting an order, which is also what keeps two instances from having one each; and what came of those before it.

use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::ari::CertificateId;
use faythe_core::name::Hostname;
use faythe_core::order::{CaView, ChallengeValue, Note};
use faythe_core::schedule::{self, Failures, GivenUp};

use super::fault::Fault;
use super::steps::new_key;
use super::{Outcome, Outside, Work};
use crate::sealed::Sealed;
use crate::store::{Saved, Slot, StoreError};

impl Work<'_> {
    /// Notes the order that the CA has made, or once more one whose note is in doubt.
    pub(super) async fn save_note(&mut self) -> Result<(), Fault> {
        let key = match &self.order.key {
            Some(key) => key.clone(),
            None => new_key(self.outside.key_type).await?,
        };
        let Some(note) = self.order.note.clone().or_else(|| self.new_note()) else {
            return Ok(());
        };
        let saved = self.saved(&note, &key);
        self.order.key = Some(key);
        match self.outside.store.act()?.save(&saved).await {
            Ok(()) => {
                self.order.note = Some(note);
                self.order.note_in_doubt = false;
                self.order.unnoted = None;
                // From here on nobody else begins an order for this host. Whoever did so before, by an accident of two
                // leaders, and has ended it meanwhile, has left a certificate.
                self.order.place = None;
                self.made_progress();
                Ok(())
            }
            Err(error @ StoreError::Conflict { .. }) => self.yield_to_note(error).await,
            Err(error) => {
                if matches!(error, StoreError::Unavailable { .. }) {
                    // It may stand there for all that: it is saved again, or removed where nobody wants the order any more.
                    self.order.note = Some(note);
                    self.order.note_in_doubt = true;
                } else if matches!(error, StoreError::Unreadable { .. }) && self.order.note.is_none() {
                    // What is there is never written over: no note could ever be saved, and others get the room.
                    self.order.session = None;
                    self.order.unnoted = None;
                }
                Err(error.into())
            }
        }
    }

    /// What is saved for the host while this note tells of its order.
    pub(super) fn saved(&self, note: &Note, key: &Sealed) -> Saved {
        Saved {
            host: self.order.host.clone(),
            order: Some((note.clone(), key.clone())),
            failures: self.order.failures.clone(),
            given_up: self.order.given_up.clone(),
            setup: self.setup(),
        }
    }

    /// The hash of the configuration for the order's zone.
    pub(super) fn setup(&self) -> Option<u64> {
        self.outside.setups.get(&self.order.zone).copied()
    }

    fn new_note(&self) -> Option<Note> {
        let session = self.order.session.as_ref()?.read();
        let view = session.view();
        Some(self.note_of(session.url(), values_of(view), view.expires))
    }

    fn note_of(&self, url: &str, values: Vec<ChallengeValue>, expires: Option<Timestamp>) -> Note {
        Note {
            host: self.order.host.clone(),
            route: self.order.route.clone(),
            order_url: url.to_owned(),
            directory: Some(self.directory().to_owned()),
            values,
            replaces: self.replaced(),
            created: (self.outside.now)(),
            expires,
        }
    }

    /// What is in the place of the certificate, as was seen before it was ordered.
    fn replaced(&self) -> Option<CertificateId> {
        let Some(Slot::Ours(held)) = &self.order.slot else {
            return None;
        };
        held.content.as_ref().ok()?.id.clone()
    }

    /// Notes an order that the CA has made and does not let us read yet: it is taken up by its URL. Says whether it is the one
    /// that goes on.
    pub(super) async fn note_unread(&mut self, url: &str, expires: Option<Timestamp>) -> Result<bool, Fault> {
        self.order.note = Some(self.note_of(url, Vec::new(), expires));
        // It has yet to be saved, however often that takes.
        self.order.note_in_doubt = true;
        self.save_note().await?;
        Ok(self.order.note.as_ref().is_some_and(|note| note.order_url == url))
    }

    /// Takes in what has to be published for an order that could not be read when it was noted. The note is saved anew before
    /// it is.
    pub(super) fn complete_note(&mut self, view: &CaView) {
        let values = values_of(view);
        if let Some(note) = &mut self.order.note
            && note.values.is_empty()
            && !values.is_empty()
        {
            note.values = values;
            note.expires = view.expires.or(note.expires);
            self.order.note_in_doubt = true;
        }
    }

    /// Another instance was first to note an order for this host, by an accident that made two of them lead. Its order is
    /// the one that goes on, and ours is left to expire: whoever has a note may finalize, and there is one note.
    async fn yield_to_note(&mut self, conflict: StoreError) -> Result<(), Fault> {
        let there = self.outside.store.read().note(&self.order.host).await?;
        self.order.session = None;
        self.order.note = None;
        self.order.note_in_doubt = false;
        self.order.key = None;
        self.order.unnoted = None;
        // It may have come to its end by now.
        self.order.place = None;
        if let Some(Saved {
            order,
            failures,
            given_up,
            ..
        }) = there
        {
            self.order.given_up = given_up;
            if let Some((note, key)) = order {
                tracing::warn!(host = %self.order.host, "another instance has noted an order; going on with that one");
                self.order.failures = failures;
                match self
                    .outside
                    .cas
                    .of_order(note.directory.as_deref(), &note.order_url)
                {
                    Some(ca) => self.order.ca = ca,
                    None => self.order.abandoned = Some(Fault::no_ca(&note)),
                }
                if let Some(route) = note.route.clone() {
                    self.take_way(route);
                }
                self.order.note = Some(note);
                self.order.key = Some(key);
                return Ok(());
            }
            if failures.is_some() {
                self.order.doom = failures;
                return Ok(());
            }
        }
        // An order more would be one too many until it is known what has become of the other.
        Err(conflict.into())
    }

    /// Saves what came of the orders so far, in place of the note of one.
    pub(super) async fn save_history(&self, given_up: Option<GivenUp>) -> Result<(), Fault> {
        let saved = self.history(self.order.failures.clone(), given_up);
        Ok(self.outside.store.act()?.save(&saved).await?)
    }

    /// The same where this has failed.
    pub(super) async fn save_failure(&self, failures: Failures) -> Result<(), Fault> {
        let saved = self.history(Some(failures), None);
        let store = self.outside.store.act()?;
        let Err(error) = store.save(&saved).await else {
            return Ok(());
        };
        // Where a note of earlier failures has been put in the place of ours, the latest counts, or it would be lost.
        let is_conflict = matches!(error, StoreError::Conflict { .. });
        let there = if is_conflict {
            store.note(&saved.host).await?
        } else {
            None
        };
        if there.is_none_or(|there| there.order.is_some()) {
            return Err(error.into());
        }
        Ok(store.save(&saved).await?)
    }

    fn history(&self, failures: Option<Failures>, given_up: Option<GivenUp>) -> Saved {
        Saved {
            host: self.order.host.clone(),
            order: None,
            failures,
            given_up,
            setup: self.setup(),
        }
    }

    /// Brings an order of no use to its end: the next one keeps a distance that grows with each in a row.
    pub(super) async fn give_up(&mut self, fault: Fault) -> Outcome {
        // Saved already where a note told of it.
        let given_up = match self.order.tallied.take() {
            Some(given_up) => given_up,
            None => {
                let given_up = self.given_up(&fault);
                if let Err(error) = self.save_history(Some(given_up.clone())).await {
                    let why = error.text;
                    tracing::debug!(host = %self.order.host, why, "an order that was of no use is counted in this process only");
                }
                given_up
            }
        };
        Outcome::GivenUp(given_up)
    }

    /// What the CA has seen fail in a row, once this has failed too.
    pub(super) fn failure(&self, fault: Fault, parked: bool, wait: Option<Duration>) -> Failures {
        let now = (self.outside.now)();
        let count = self.order.failures.as_ref().map_or(0, |before| before.count);
        Failures {
            count: count.saturating_add(1),
            last: now,
            clock_ahead: self.outside.clock_ahead(now),
            refused_by: self.refused_by(&fault, now),
            code: fault.code,
            text: match self.outside.name_of(self.order.ca) {
                Some(name) => format!("{name}: {}", fault.text),
                None => fault.text,
            },
            not_before: wait.map(|wait| schedule::after(now, wait)),
            parked,
        }
    }

    /// The orders of no use in a row, once this is one more.
    pub(super) fn given_up(&self, fault: &Fault) -> GivenUp {
        let note = self.order.note.as_ref().filter(|_| fault.is_expiry());
        let now = (self.outside.now)();
        GivenUp {
            clock_ahead: self.outside.clock_ahead(now),
            ..GivenUp::one_more(
                self.order.given_up.as_ref(),
                note.map(|note| note.created),
                self.outside.policy.issue_grace,
                now,
                fault.code.clone(),
                fault.text.clone(),
            )
        }
    }

    /// The CAs that do not issue for the name, once this has failed too; those that said so before the last pause may have
    /// changed their minds.
    fn refused_by(&self, fault: &Fault, now: Timestamp) -> Vec<String> {
        if !fault.is_refusal() {
            return Vec::new();
        }
        let grace = self.outside.policy.issue_grace;
        let before = self.order.failures.as_ref();
        let before = before.filter(|before| before.next_attempt(grace, self.order.demand) > now);
        let mut refused_by = before.map_or_else(Vec::new, |before| before.refused_by.clone());
        refused_by.push(self.directory().to_owned());
        refused_by
    }
}

impl Outside {
    /// Whether the configuration was another one when a note of `host` was written that has this hash of it: what failed
    /// may be mended (P22).
    #[must_use]
    pub fn is_changed(&self, host: &Hostname, before: Option<u64>) -> bool {
        let zone = self.policy.zones.of(host.base());
        let now = zone.and_then(|zone| self.setups.get(&zone.apex));
        before.is_some_and(|before| now.is_some_and(|now| *now != before))
    }
}

/// What has to be published for an order.
fn values_of(view: &CaView) -> Vec<ChallengeValue> {
    let challenges = view.challenges.iter();
    challenges.map(|challenge| challenge.value.clone()).collect()
}
