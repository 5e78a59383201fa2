//! The judgment of one certificate: what is to be said of it, whether it is to be worked on, and when time alone changes that.

use jiff::{SignedDuration, Timestamp};

use crate::activity::{Activity, Hold};
use crate::cert::{Shortfall, Standing, standing, turns_at};
use crate::name::Hostname;
use crate::order::{Goal, Stage};
use crate::policy::Policy;
use crate::schedule::{ahead, settled_at};
use crate::verdict::Reason;
use crate::world::{Want, World};

/// How long the place of a certificate counts as somebody else's before it is looked at again: half as long as it has
/// been known, within these bounds. No watch tells of a Secret without the label, and who has just read the verdict and
/// moved it shall not wait for a minute; a look is one request.
const TAKEN_RECHECK: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(5), SignedDuration::from_secs(60));

/// What an assessment concludes.
pub(super) struct Assessment {
    pub(super) reason: Reason,
    /// Present when it should be worked on now.
    pub(super) rank: Option<Rank>,
    /// When time alone changes the conclusion.
    pub(super) revisit: Option<Timestamp>,
}

/// Who goes first: noted orders, then certificates that nothing serves, then renewals; those that have rested after those
/// that have not, so that what is stuck never holds up what is new; then in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    urgency: Urgency,
    arrival: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Noted,
    Unserved,
    Renewal,
    Rested,
}

/// Judges one certificate; `None` when there is nothing to say or do.
pub(super) fn assess(host: &Hostname, world: &World, policy: &Policy, now: Timestamp) -> Option<Assessment> {
    let Some(want) = world.want(host) else {
        return assess_unwanted(host, world, policy, now);
    };
    let mut assessment = assess_wanted(host, want, world, policy, now);
    // A certificate that expires while it waits for its turn goes first; one whose validity begins waits no more.
    if let Some(turn) = turns_at(host, world.claims(host), policy.threshold, now) {
        assessment.revisit = Some(assessment.revisit.map_or(turn, |at| at.min(turn)));
    }
    Some(assessment)
}

fn assess_unwanted(host: &Hostname, world: &World, policy: &Policy, now: Timestamp) -> Option<Assessment> {
    let (ready, revisit) = match world.activity(host) {
        Some(Activity::Running(_)) => (false, None),
        Some(Activity::Resting(rest)) if rest.until > now => (false, Some(rest.until)),
        Some(Activity::Noted | Activity::Resting(_)) => (true, None),
        None => {
            let failures = world.failures(host)?;
            if failures.next_attempt(policy.issue_grace) > now {
                return None;
            }
            (true, None)
        }
    };
    Some(Assessment {
        reason: Reason::Unwanted,
        rank: ready.then_some(Rank {
            urgency: Urgency::Noted,
            arrival: 0,
        }),
        revisit,
    })
}

fn assess_wanted(host: &Hostname, want: &Want, world: &World, policy: &Policy, now: Timestamp) -> Assessment {
    let activity = world.activity(host);
    let wait = |reason, until| Assessment {
        reason,
        rank: None,
        revisit: Some(until),
    };
    let short = match standing(host, world.claims(host), policy.threshold, now) {
        Standing::Fine {
            secret,
            not_after,
            renew_at,
        } => {
            let reason = Reason::Valid {
                secret,
                not_after,
                renew_at,
            };
            // What an order left behind is cleaned up, though the certificate itself is there.
            let (rank, revisit) = match activity {
                Some(Activity::Resting(rest)) if rest.noted && rest.until > now => {
                    (None, rest.until.min(renew_at))
                }
                Some(Activity::Resting(rest)) if !rest.noted => (None, renew_at),
                Some(Activity::Noted | Activity::Resting(_)) => (
                    Some(Rank {
                        urgency: Urgency::Noted,
                        arrival: want.arrival,
                    }),
                    renew_at,
                ),
                Some(Activity::Running(_)) | None => (None, renew_at),
            };
            return Assessment {
                reason,
                rank,
                revisit: Some(revisit),
            };
        }
        Standing::Short(short) => short,
    };
    if let Some(Activity::Running(stage)) = activity {
        // To look whether the place is still somebody else's is no news.
        if let (Some(taken), Stage::Ordering) = (world.taken(host), stage) {
            return Assessment {
                reason: Reason::Conflict {
                    text: taken.reason.clone(),
                },
                rank: None,
                revisit: None,
            };
        }
        return Assessment {
            reason: Reason::Issuing { stage: *stage, short },
            rank: None,
            revisit: None,
        };
    }
    if let Some(taken) = world.taken(host) {
        let (soonest, latest) = TAKEN_RECHECK;
        let known = taken.since.duration_until(taken.seen);
        let recheck = ahead(taken.seen, (known / 2).clamp(soonest, latest));
        if recheck > now {
            return wait(
                Reason::Conflict {
                    text: taken.reason.clone(),
                },
                recheck,
            );
        }
    }
    let hold = world.hold_on(host, now);
    if let Some(Activity::Resting(rest)) = activity
        && rest.until > now
        // What holds it at least as long says more of what keeps it.
        && hold.is_none_or(|hold| hold.until < rest.until)
    {
        return wait(
            Reason::Stalled {
                rest: rest.clone(),
                short,
            },
            rest.until,
        );
    }
    // An order that is there already may go on; only a new one has to keep its distance.
    if !has_order(activity)
        && let Some(failures) = world.failures(host)
    {
        let next = failures.next_attempt(policy.issue_grace);
        if next > now {
            return wait(
                Reason::Failed {
                    failures: failures.clone(),
                    next,
                },
                next,
            );
        }
    }
    if !has_order(activity)
        && let Some(hold) = settling(host, &short, world, policy).filter(|hold| hold.until > now)
    {
        let until = hold.until;
        return wait(Reason::Held { hold, short }, until);
    }
    if let Some(hold) = hold {
        return wait(
            Reason::Held {
                hold: hold.clone(),
                short,
            },
            hold.until,
        );
    }
    let rank = Rank {
        urgency: urgency(activity, &short),
        arrival: want.arrival,
    };
    Assessment {
        reason: Reason::Queued(short),
        rank: Some(rank),
        revisit: None,
    }
}

/// Leaves a certificate alone that is due although it has only just been stored; ordering again would not help (P20).
fn settling(host: &Hostname, short: &Shortfall, world: &World, policy: &Policy) -> Option<Hold> {
    if !matches!(short, Shortfall::Due(_)) {
        return None;
    }
    let (issued, until) = world
        .claims(host)
        .filter_map(|held| Some((held.issued_at?, held.content.as_ref().ok()?)))
        .filter(|(_, facts)| facts.covers(host))
        .map(|(issued, facts)| {
            let until = settled_at(issued, facts.not_before, facts.not_after, policy.issue_grace);
            (issued, until)
        })
        .max_by_key(|(_, until)| *until)?;
    Some(Hold {
        until,
        code: "due-at-once".to_owned(),
        text: format!(
            "it was stored only at {issued}: either a clock is wrong, or its lifetime is shorter than its use"
        ),
        tries: 1,
        told: false,
    })
}

fn urgency(activity: Option<&Activity>, short: &Shortfall) -> Urgency {
    match activity {
        Some(Activity::Noted) => Urgency::Noted,
        Some(Activity::Resting(_)) => Urgency::Rested,
        Some(Activity::Running(_)) | None if short.serves() => Urgency::Renewal,
        Some(Activity::Running(_)) | None => Urgency::Unserved,
    }
}

pub(super) fn goal(host: &Hostname, world: &World) -> Goal {
    if world.want(host).is_some() {
        Goal::Wanted
    } else {
        Goal::Unwanted
    }
}

/// Whether an order is under way or noted.
pub(super) fn has_order(activity: Option<&Activity>) -> bool {
    match activity {
        Some(Activity::Noted | Activity::Running(_)) => true,
        Some(Activity::Resting(rest)) => rest.noted,
        None => false,
    }
}
