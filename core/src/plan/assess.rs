//! The judgment of one certificate: what is to be said of it, whether it is to be worked on, and when time alone changes that.

use jiff::{SignedDuration, Timestamp};

use crate::activity::{Activity, Rest};
use crate::budget::Exemption;
use crate::cas::CaId;
use crate::cert::{CertFacts, Shortfall, Standing, standing, turns_at};
use crate::name::Hostname;
use crate::order::{Goal, Stage};
use crate::policy::Policy;
use crate::renewal;
use crate::schedule::ahead;
use crate::verdict::Reason;
use crate::world::{Want, World};

use super::choice::{Choice, Obstacle, choose, is_refused_elsewhere};
use super::pace::{Flow, usual};
use super::rank::{Rank, Urgency, endangered_at, rank, tidying};
use super::settle::settling;

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
    /// At which CA.
    pub(super) ca: CaId,
    /// Whether its order would count for the account and the domain.
    pub(super) counted: bool,
    /// When time alone changes the conclusion.
    pub(super) revisit: Option<Timestamp>,
    /// Whether the CA is to be asked now and then whether it wants the certificate renewed.
    pub(super) followed: bool,
    /// What it takes of the CA on the average.
    pub(super) usual: Flow,
}

/// Judges one certificate; `None` when there is nothing to say or do.
pub(super) fn assess(host: &Hostname, world: &World, policy: &Policy, now: Timestamp) -> Option<Assessment> {
    let Some(want) = world.want(host) else {
        return assess_unwanted(host, world, policy, now);
    };
    let mut assessment = assess_wanted(host, want, world, policy, now);
    // A certificate that expires while it waits for its turn goes first; one whose validity begins waits no more.
    let turn = turns_at(host, world.claims(host), world.rule(host, policy), now);
    assessment.revisit = earlier(assessment.revisit, turn);
    // Never again once it has expired (RFC 9773 §4.3); and a CA that is configured no more is asked nothing.
    let best = best(host, world);
    let lives = best.is_some_and(|facts| facts.not_after > now);
    assessment.usual = best.map_or_else(Flow::default, |facts| usual(facts, world.rule(host, policy)));
    assessment.followed = lives && world.maker(host).is_some();
    Some(assessment)
}

/// The certificate for `host` that serves longest.
pub(super) fn best<'a>(host: &Hostname, world: &'a World) -> Option<&'a CertFacts> {
    let facts = world.claims(host).filter_map(|held| held.content.as_ref().ok());
    facts
        .filter(|facts| facts.covers(host))
        .max_by_key(|facts| facts.not_after)
}

/// The CA that has yet to say whether it wants the certificate renewed: it is asked before anything is ordered.
fn awaited(host: &Hostname, world: &World) -> Option<CaId> {
    let id = best(host, world)?.id.as_ref()?;
    world
        .maker(host)
        .filter(|_| world.is_untold(host, renewal::key(id)))
}

/// Whether the CA has yet to say that, and will: it may not have answered at once, or not be asked for a while.
fn is_to_be_told(host: &Hostname, world: &World, now: Timestamp) -> bool {
    let id = best(host, world).and_then(|facts| facts.id.as_ref());
    let is_unanswered = id.is_some_and(|id| world.is_unanswered(host, renewal::key(id)));
    let maker = world.maker(host).filter(|_| is_unanswered);
    maker.is_some_and(|ca| !world.is_without_hints(ca, now))
}

/// The earlier of two moments, where there are any.
pub(super) fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

fn assess_unwanted(host: &Hostname, world: &World, policy: &Policy, now: Timestamp) -> Option<Assessment> {
    let (rank, revisit) = match world.activity(host) {
        Some(Activity::Running(_)) => (None, None),
        Some(Activity::Resting(rest)) if rest.until > now => (None, Some(rest.until)),
        activity @ (Some(Activity::Noted | Activity::Resting(_)) | None) => {
            // A demand is for a certificate, which nobody wants.
            if activity.is_none() && world.spaced_until(host, policy.issue_grace)? > now {
                return None;
            }
            let (rank, revisit) = tidying(host, 0, world, now);
            (Some(rank), revisit)
        }
    };
    Some(Assessment {
        reason: Reason::Unwanted,
        rank,
        ca: world.ca_of(host),
        counted: false,
        revisit,
        followed: false,
        usual: Flow::default(),
    })
}

fn assess_wanted(host: &Hostname, want: &Want, world: &World, policy: &Policy, now: Timestamp) -> Assessment {
    let activity = world.activity(host);
    let ordered = has_order(activity);
    let at = world.ca_of(host);
    let say = |reason, revisit| Assessment {
        reason,
        rank: None,
        ca: at,
        counted: false,
        revisit,
        followed: false,
        usual: Flow::default(),
    };
    let short = match standing(host, world.claims(host), world.rule(host, policy), now) {
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
            // One that goes on though there is time, as a renewal does whose window was moved, asks the CA as others do.
            let held = match activity {
                Some(Activity::Resting(rest)) if rest.stage != Stage::CleaningUp => {
                    let exemption = world.exemption(host, at, now);
                    world.hold_on(host, at, exemption, now).map(|hold| hold.until)
                }
                Some(_) | None => None,
            };
            // What an order left behind is cleaned up, though the certificate itself is there.
            let (rank, revisit) = match activity {
                Some(Activity::Resting(rest)) if rest.noted && rest.until > now => {
                    (None, rest.until.min(renew_at))
                }
                Some(Activity::Resting(rest)) if !rest.noted => (None, renew_at),
                Some(Activity::Resting(_)) if held.is_some() => {
                    (None, held.map_or(renew_at, |until| until.min(renew_at)))
                }
                // Whether it is left over, or renews what the CA has recalled, the CA is about to say.
                Some(Activity::Noted) if is_to_be_told(host, world, now) => (None, renew_at),
                Some(Activity::Noted | Activity::Resting(_)) => {
                    let (rank, changes) = tidying(host, want.arrival, world, now);
                    (Some(rank), changes.map_or(renew_at, |at| at.min(renew_at)))
                }
                Some(Activity::Running(_)) | None => (None, renew_at),
            };
            return Assessment {
                rank,
                ..say(reason, Some(revisit))
            };
        }
        Standing::Short(short) => short,
    };
    if let Some(Activity::Running(stage)) = activity {
        // To look whether the place is still somebody else's is no news.
        if let (Some(taken), Stage::Ordering) = (world.taken(host), stage) {
            let text = taken.reason.clone();
            return say(Reason::Conflict { text }, None);
        }
        return say(Reason::Issuing { stage: *stage, short }, None);
    }
    if let Some(taken) = world.taken(host) {
        let (soonest, latest) = TAKEN_RECHECK;
        let known = taken.since.duration_until(taken.seen);
        let recheck = ahead(taken.seen, (known / 2).clamp(soonest, latest));
        if recheck > now {
            let text = taken.reason.clone();
            return say(Reason::Conflict { text }, Some(recheck));
        }
    }
    let hurry_at = hurry_at(host, &short, world, policy);
    let urgent = hurry_at.is_none_or(|at| at <= now);
    let choice = if ordered {
        // It stays where it is.
        let exemption = world.exemption(host, at, now);
        let hold = world.hold_on(host, at, exemption, now).cloned();
        Choice {
            ca: at,
            exemption,
            obstacle: hold.map(Obstacle::Held),
            revisit: None,
        }
    } else {
        choose(host, urgent, world, policy, now)
    };
    // What has time may be in a hurry by then, and another CA may stand in.
    let several = world.cas_of(host).len() > 1;
    let other = choice
        .revisit
        .into_iter()
        .chain(hurry_at.filter(|at| several && *at > now));
    let other = other.min();
    let wait = |reason, until| say(reason, earlier(other, Some(until)));
    if let Some(Activity::Resting(rest)) = activity
        && rest.until > now
        // What holds it at least as long says more of what keeps it.
        && choice.obstacle.as_ref().is_none_or(|obstacle| obstacle.until() < rest.until)
    {
        let rest = rest.clone();
        let until = rest.until;
        return wait(Reason::Stalled { rest, short }, until);
    }
    // An order that is there already may go on; only a new one has to keep its distance.
    if !ordered
        && let Some(failures) = world.failures(host)
        && !(urgent
            && is_refused_elsewhere(host, world)
            && !matches!(choice.obstacle, Some(Obstacle::Refused(_))))
    {
        let demand = world.demand(host);
        let next = failures.next_attempt(policy.issue_grace, demand);
        if next > now {
            let sooner = demand.filter(|demand| demand.at > failures.last);
            let sooner = sooner.map(|demand| demand.why);
            let failures = failures.clone();
            return wait(
                Reason::Failed {
                    failures,
                    next,
                    sooner,
                },
                next,
            );
        }
    }
    let given_up = world.given_up(host).filter(|_| !ordered);
    let rest = given_up.map(|given_up| Rest::after(given_up, world.demand(host)));
    if let Some(rest) = rest.filter(|rest| rest.until > now) {
        let until = rest.until;
        return wait(Reason::Stalled { rest, short }, until);
    }
    if !ordered && let Some(hold) = settling(host, &short, world, policy, now).filter(|hold| hold.until > now)
    {
        let until = hold.until;
        return wait(Reason::Held { hold, short }, until);
    }
    match choice.obstacle {
        Some(Obstacle::Held(mut hold)) => {
            let until = hold.until;
            if let Some(name) = world.name_of(choice.ca) {
                hold.text = format!("{name}: {}", hold.text);
            }
            return wait(Reason::Held { hold, short }, until);
        }
        Some(Obstacle::Excluded(hold)) => {
            let until = hold.until;
            let rest = Rest {
                noted: false,
                stage: Stage::Ordering,
                code: hold.code,
                text: hold.text,
                tries: hold.tries,
                until,
            };
            return wait(Reason::Stalled { rest, short }, until);
        }
        Some(Obstacle::Refused(_)) | None => {}
    }
    let (rank, revisit) = rank(host, want, &short, choice.ca, world, policy, now);
    let has_time = matches!(rank.urgency, Urgency::Routine | Urgency::Recalled) && !ordered;
    let awaited = awaited(host, world).filter(|_| has_time);
    // One that cannot be asked is not waited for.
    let unasked = awaited.and_then(|ca| world.unasked_until(ca, now));
    // Inside its window a renewal is exempt, and outside it is not.
    let bounds = world.window_bounds(host, choice.ca).into_iter().flatten();
    // And long after a certificate was issued its renewal is none to the CA any more.
    let hint = world.hint(host);
    let turns = bounds.chain(renewal::forgotten_at(world.claims(host), hint.as_ref()));
    let turn = turns.chain(unasked).filter(|at| *at > now).min();
    Assessment {
        reason: Reason::Queued(short),
        rank: Some(rank).filter(|_| awaited.is_none() || unasked.is_some()),
        ca: choice.ca,
        counted: !ordered && choice.exemption == Exemption::Nothing,
        revisit: earlier(earlier(revisit, turn), other),
        followed: false,
        usual: Flow::default(),
    }
}

/// When another CA may stand in for the first one, because little is left of what is held; `None` where nothing serves, so
/// that it may at once.
fn hurry_at(host: &Hostname, short: &Shortfall, world: &World, policy: &Policy) -> Option<Timestamp> {
    match short {
        Shortfall::Due(_) => best(host, world).map(|facts| endangered_at(facts, world.rule(host, policy))),
        Shortfall::Expired(_)
        | Shortfall::Missing
        | Shortfall::NotYetValid(_)
        | Shortfall::OtherNames(_)
        | Shortfall::Unreadable(_) => None,
    }
}

/// What an order for `host` is to be worked on for, should it begin now.
///
/// To wait for a value to be seen, or for the CA's cache, is no fault the first time.
pub(super) fn goal(host: &Hostname, world: &World) -> Goal {
    if world.want(host).is_some() {
        return Goal::Wanted;
    }
    match world.activity(host) {
        Some(Activity::Resting(rest)) if rest.stage != Stage::Checking || rest.tries > 1 => Goal::Unwanted,
        Some(Activity::Noted | Activity::Resting(_) | Activity::Running(_)) | None => Goal::Carried,
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
