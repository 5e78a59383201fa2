//! A model of `src/store/notes.rs`: notes whose versions are known, and writes of which nobody knows how they went.

use std::collections::{BTreeMap, BTreeSet};

use faythe_core::name::Hostname;

use super::order::Fault;
use crate::outside::{Leg, Outside, Refusal, Saved, Trouble};

/// Each try is made with what the last one has taught.
const TRIES: usize = 3;

/// What is known of the notes, all of it lost with the process.
#[derive(Default)]
pub(super) struct Notes(BTreeMap<Hostname, Known>);

#[derive(Clone, Default)]
struct Known {
    version: Option<u64>,
    /// What was last read or written.
    last: Option<Saved>,
    /// Something else has been found there since.
    lost: bool,
    /// What may have been written since.
    doubts: Vec<Saved>,
}

enum There {
    Nothing,
    Ours(u64, Box<Saved>),
    Theirs,
}

impl Notes {
    /// Reads all.
    pub(super) fn all(&mut self, outside: &Outside) -> Vec<(Hostname, Saved)> {
        let notes = outside.cluster.notes.iter();
        let read = notes.map(|(host, (version, saved))| {
            self.learn(host, *version, saved);
            (host.clone(), saved.clone())
        });
        read.collect()
    }

    /// The hosts of notes that have neither been read nor written here, or not as they are now.
    pub(super) fn strays(&self, outside: &Outside) -> BTreeSet<Hostname> {
        let known = |host: &&Hostname| {
            let known = self.0.get(*host);
            known.is_some_and(|known| !known.lost && (known.version.is_some() || !known.doubts.is_empty()))
        };
        let notes = outside.cluster.notes.keys();
        notes.filter(|host| !known(host)).cloned().collect()
    }

    /// Reads the note of one host, whoever has written it.
    pub(super) fn one(&mut self, host: &Hostname, outside: &mut Outside) -> Result<Option<Saved>, Fault> {
        let read = |outside: &mut Outside| outside.cluster.notes.get(host).cloned();
        match outside.ask(Leg::Cluster, host, read).ok_or_else(unavailable)? {
            Some((version, saved)) => {
                self.learn(host, version, &saved);
                Ok(Some(saved))
            }
            None => {
                self.missed(host);
                Ok(None)
            }
        }
    }

    /// Writes what is known of a host in place of what was written before.
    pub(super) fn save(
        &mut self,
        host: &Hostname,
        saved: &Saved,
        outside: &mut Outside,
    ) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let version = self.0.get(host).and_then(|known| known.version);
            let write = |outside: &mut Outside| outside.cluster.save(host, version, saved.clone());
            match outside.ask(Leg::Cluster, host, write) {
                None => {
                    let doubts = &mut self.0.entry(host.clone()).or_default().doubts;
                    if !doubts.contains(saved) {
                        doubts.push(saved.clone());
                    }
                    return Err(unavailable());
                }
                Some(Ok(version)) => {
                    self.remember(host, version, saved);
                    return Ok(());
                }
                Some(Err(Refusal::Conflict)) => match self.there(host, Some(saved), outside)? {
                    There::Ours(version, found) => {
                        self.remember(host, version, &found);
                        if *found == *saved {
                            return Ok(());
                        }
                    }
                    There::Theirs => return Err(conflict(host, outside)),
                    There::Nothing => self.missed(host),
                },
                Some(Err(Refusal::Missing)) => self.missed(host),
            }
        }
        Err(conflict(host, outside))
    }

    /// Removes what was written of a host.
    pub(super) fn forget(&mut self, host: &Hostname, outside: &mut Outside) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let Some(known) = self.0.get(host).cloned() else {
                return Ok(());
            };
            let Some(version) = known.version else {
                match self.there(host, None, outside)? {
                    There::Ours(version, found) => self.remember(host, version, &found),
                    There::Nothing | There::Theirs => {
                        self.0.remove(host);
                        return Ok(());
                    }
                }
                continue;
            };
            let remove = |outside: &mut Outside| outside.cluster.forget(host, version);
            match outside.ask(Leg::Cluster, host, remove).ok_or_else(unavailable)? {
                Ok(()) | Err(Refusal::Missing) => {
                    self.0.remove(host);
                    return Ok(());
                }
                Err(Refusal::Conflict) => match self.there(host, None, outside)? {
                    There::Ours(version, found) => self.remember(host, version, &found),
                    There::Theirs => return Err(conflict(host, outside)),
                    There::Nothing => {
                        self.0.remove(host);
                        return Ok(());
                    }
                },
            }
        }
        Err(conflict(host, outside))
    }

    /// Looks whether what stands there is what was written or tried to be, now or before.
    fn there(&mut self, host: &Hostname, now: Option<&Saved>, outside: &mut Outside) -> Result<There, Fault> {
        let read = |outside: &mut Outside| outside.cluster.notes.get(host).cloned();
        let Some((version, saved)) = outside.ask(Leg::Cluster, host, read).ok_or_else(unavailable)? else {
            return Ok(There::Nothing);
        };
        let known = self.0.entry(host.clone()).or_default();
        if now == Some(&saved) || known.last.as_ref() == Some(&saved) || known.doubts.contains(&saved) {
            return Ok(There::Ours(version, Box::new(saved)));
        }
        known.lost = true;
        Ok(There::Theirs)
    }

    fn learn(&mut self, host: &Hostname, version: u64, saved: &Saved) {
        let known = Known {
            version: Some(version),
            last: Some(saved.clone()),
            ..Known::default()
        };
        self.0.insert(host.clone(), known);
    }

    fn remember(&mut self, host: &Hostname, version: u64, saved: &Saved) {
        let known = self.0.entry(host.clone()).or_default();
        (known.version, known.last, known.lost) = (Some(version), Some(saved.clone()), false);
    }

    fn missed(&mut self, host: &Hostname) {
        let known = self.0.entry(host.clone()).or_default();
        (known.version, known.lost) = (None, false);
    }
}

fn unavailable() -> Fault {
    Fault::own("store-unavailable")
}

fn conflict(host: &Hostname, outside: &mut Outside) -> Fault {
    outside.went_wrong(host, Trouble::Conflict);
    Fault::own("store-conflict")
}
