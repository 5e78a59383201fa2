//! Who holds a Lease: one seat for each group of zones that Faythes serve.
//!
//! The rights that `deploy/rbac.yaml` gives reach one Lease. Its `spec` is the first seat, as everybody knows it. Where the
//! holder of that serves none of our zones, we are elected beside it: in an annotation, which says the same of a further
//! seat. `resourceVersion` guards the whole object, so of two writers one notices the other and writes anew; nobody's seat
//! is undone. How old a seat is counts from when that seat was seen to change, for the object changes with everybody's
//! renewals.
//!
//! What has not been renewed for its duration may be taken, and is cleared by whoever writes next: a Faythe that goes by
//! the version of the object alone takes only what is free.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cluster::short_hash;

/// The zones that the holder in the `spec` serves, so that a Faythe for others is not taken for a replica.
const ZONES: &str = "faythe/zones";
/// What the annotations of further seats begin with. A hash of the zones follows, so that no two groups want the same.
const BESIDE: &str = "faythe/seat-";
/// The longest list of zones that is written: annotations may have 256 KiB together, and each renewal writes them anew. Who
/// serves more says nothing, and is taken to serve all.
const ZONES_LONGEST: usize = 32 << 10;
/// Whatever another version has written as its duration, nobody is waited for longer.
const DURATION_MAX: i32 = 60;
/// Who sits beside moves into the `spec` once that has been free for so long: whose it was is not coming back soon.
const VACANT: Duration = Duration::from_secs(60);

/// Where a seat is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In the annotation of this key.
    Beside(String),
    /// In the Lease's `spec`.
    Spec,
}

/// One seat, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seat {
    /// The zones that its holder serves, with commas between them.
    zones: String,
    /// What a Lease says of its holder.
    spec: LeaseSpec,
}

/// The seats of a Lease, and when each was seen to change.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seen: BTreeMap<Place, (Seat, Instant)>,
}

/// What the seats of a Lease mean for one candidate.
#[derive(Debug, PartialEq)]
pub(super) enum Judgment {
    /// Nobody else acts for any of our zones.
    Free {
        /// Where we may sit.
        place: Place,
        /// Seats to be cleared by the same write.
        clear: Vec<Place>,
        /// Whose time has run out, and how long that was; we take over from them.
        over: Option<(String, Duration)>,
        /// The zones of the one who holds the `spec` and keeps us out of it.
        beside: Option<String>,
    },
    /// Another acts for our zones, or for some of them.
    Taken {
        /// Who.
        holder: String,
        /// After so long without a change it may be taken.
        left: Duration,
        /// Which of our zones it does not serve.
        unserved: Vec<String>,
    },
}

impl Seats {
    /// Takes in a Lease that was read; `now` is when the answer had come, so that nothing is older than we think.
    pub(super) fn look(&mut self, lease: &Lease, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        for (place, seat) in all(lease) {
            let known = before.remove(&place).filter(|(known, _)| *known == seat);
            self.seen.insert(place, known.unwrap_or((seat, now)));
        }
    }

    /// What they mean for the candidate of this name who serves these zones.
    pub(super) fn judge(&self, identity: &str, zones: &BTreeSet<String>, now: Instant) -> Judgment {
        let mut ours = None;
        let mut clear = Vec::new();
        let mut over = None;
        let mut beside = None;
        let mut taken: Option<(&Seat, Duration)> = None;
        for (place, (seat, since)) in &self.seen {
            let holder = seat.holder();
            if holder == identity {
                // Of two, the `spec` is the one that is kept; it comes last.
                clear.extend(ours.replace(place.clone()));
                continue;
            }
            let left = seat.duration().saturating_sub(now.duration_since(*since));
            if holder.is_empty() {
                if *place != Place::Spec {
                    clear.push(place.clone());
                }
            } else if left.is_zero() {
                clear.push(place.clone());
                if seat.serves_any(zones) {
                    over = Some((holder.to_owned(), seat.duration()));
                }
            } else if seat.serves_any(zones) {
                let longer = taken.as_ref().is_none_or(|(_, known)| left > *known);
                if longer {
                    taken = Some((seat, left));
                }
            } else if *place == Place::Spec {
                beside = Some(seat.zones.clone());
            }
        }
        if let Some((seat, left)) = taken {
            return Judgment::Taken {
                holder: seat.holder().to_owned(),
                left,
                unserved: seat.leaves_out(zones),
            };
        }
        let sits_beside = matches!(ours, Some(Place::Beside(_)));
        let place = if beside.is_some() || (sits_beside && !self.is_vacant(now)) {
            Place::Beside(key(zones))
        } else {
            Place::Spec
        };
        // We sit in one place; what is written there needs no clearing before.
        clear.extend(ours);
        clear.retain(|other| *other != place);
        Judgment::Free {
            place,
            clear,
            over,
            beside,
        }
    }

    /// Whether nobody has held the `spec` for long.
    fn is_vacant(&self, now: Instant) -> bool {
        let spec = self.seen.get(&Place::Spec);
        spec.is_none_or(|(seat, since)| seat.holder().is_empty() && now.duration_since(*since) >= VACANT)
    }
}

impl Seat {
    fn holder(&self) -> &str {
        self.spec.holder_identity.as_deref().unwrap_or_default()
    }

    /// How long it is respected.
    fn duration(&self) -> Duration {
        let secs = self.spec.lease_duration_seconds.unwrap_or_default();
        Duration::from_secs(secs.clamp(1, DURATION_MAX).unsigned_abs().into())
    }

    /// Whether its holder serves any of these zones. One that does not say what it serves is taken to serve all.
    fn serves_any(&self, zones: &BTreeSet<String>) -> bool {
        self.zones.is_empty()
            || self.zones == key(zones)
            || self.zones.split(',').any(|zone| zones.contains(zone))
    }

    /// Which of these zones its holder does not serve, where it says what it serves.
    fn leaves_out(&self, zones: &BTreeSet<String>) -> Vec<String> {
        if self.zones.is_empty() || self.zones == key(zones) {
            return Vec::new();
        }
        let served: BTreeSet<_> = self.zones.split(',').collect();
        let left_out = zones.iter().filter(|zone| !served.contains(zone.as_str()));
        left_out.cloned().collect()
    }
}

/// Puts the sitter into a seat, and clears others: as before if it has held one all the time, or else as a new holder.
pub(super) fn sit(lease: &mut Lease, place: &Place, clear: &[Place], sitter: &Sitter<'_>) {
    let held = all(lease).into_iter().find(|(_, seat)| {
        let same = sitter.holding.is_some() && seat.spec.acquire_time.as_ref() == sitter.holding;
        same && seat.holder() == sitter.identity
    });
    for other in clear {
        free(lease, other, &sitter.now);
    }
    let there = all(lease).remove(place).unwrap_or_default();
    let mut spec = there.spec;
    if held.as_ref().is_none_or(|(at, _)| at != place) {
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.wrapping_add(1)));
    }
    let acquired = held.and_then(|(_, seat)| seat.spec.acquire_time);
    spec.acquire_time = Some(acquired.unwrap_or_else(|| sitter.now.clone()));
    spec.holder_identity = Some(sitter.identity.to_owned());
    spec.lease_duration_seconds = i32::try_from(sitter.duration.as_secs()).ok();
    spec.renew_time = Some(sitter.now.clone());
    let zones = sitter.zones.iter().cloned().collect::<Vec<_>>().join(",");
    let zones = match place {
        Place::Beside(key) if zones.len() > ZONES_LONGEST => key.clone(),
        Place::Spec if zones.len() > ZONES_LONGEST => String::new(),
        Place::Beside(_) | Place::Spec => zones,
    };
    put(lease, place, Seat { zones, spec });
}

/// Who sits down, or stays.
pub(super) struct Sitter<'a> {
    /// Its name.
    pub(super) identity: &'a str,
    /// The zones that it serves.
    pub(super) zones: &'a BTreeSet<String>,
    /// For how long a renewal is good.
    pub(super) duration: Duration,
    /// Since when it has been in the seat that it knows of.
    pub(super) holding: Option<&'a MicroTime>,
    /// What is written as the time of the renewal.
    pub(super) now: MicroTime,
}

/// Since when `identity` holds the seat at `place`.
pub(super) fn since(lease: &Lease, place: &Place, identity: &str) -> Option<MicroTime> {
    let seat = all(lease)
        .remove(place)
        .filter(|seat| seat.holder() == identity)?;
    seat.spec.acquire_time
}

/// Frees every seat of `identity`; whether there was any.
pub(super) fn stand_up(lease: &mut Lease, identity: &str, now: &MicroTime) -> bool {
    let mut any = false;
    for (place, seat) in all(lease) {
        if seat.holder() == identity {
            free(lease, &place, now);
            any = true;
        }
    }
    any
}

/// Whether anybody sits beside the `spec`.
pub(super) fn has_others(lease: &Lease) -> bool {
    lease.annotations().keys().any(|key| key.starts_with(BESIDE))
}

fn free(lease: &mut Lease, place: &Place, now: &MicroTime) {
    match place {
        Place::Beside(key) => {
            lease.annotations_mut().remove(key);
        }
        Place::Spec => {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = None;
            spec.renew_time = Some(now.clone());
        }
    }
}

fn put(lease: &mut Lease, place: &Place, seat: Seat) {
    match place {
        Place::Beside(key) => {
            // There is nothing in it that JSON cannot say.
            let text = serde_json::to_string(&seat).unwrap_or_default();
            lease.annotations_mut().insert(key.clone(), text);
        }
        Place::Spec => {
            lease.annotations_mut().insert(ZONES.to_owned(), seat.zones);
            lease.spec = Some(seat.spec);
        }
    }
}

/// Every seat of a Lease.
fn all(lease: &Lease) -> BTreeMap<Place, Seat> {
    let annotations = lease.annotations();
    let first = Seat {
        zones: annotations.get(ZONES).cloned().unwrap_or_default(),
        spec: lease.spec.clone().unwrap_or_default(),
    };
    let further = annotations.iter().filter(|(key, _)| key.starts_with(BESIDE));
    let further = further.map(|(key, text)| (Place::Beside(key.clone()), read(key, text)));
    further.chain([(Place::Spec, first)]).collect()
}

/// A seat as it stands in an annotation. One that cannot be read is somebody's who serves the zones of its key, and
/// respected for the longest time.
fn read(key: &str, text: &str) -> Seat {
    serde_json::from_str(text).unwrap_or_else(|_| Seat {
        zones: key.to_owned(),
        spec: LeaseSpec {
            holder_identity: Some(format!("whoever wrote {key} ({})", short_hash(&[text]))),
            lease_duration_seconds: Some(DURATION_MAX),
            ..LeaseSpec::default()
        },
    })
}

/// The annotation of those who serve exactly these zones.
fn key(zones: &BTreeSet<String>) -> String {
    let zones: Vec<_> = zones.iter().map(String::as_str).collect();
    format!("{BESIDE}{}", short_hash(&zones))
}

#[cfg(test)]
mod tests;
