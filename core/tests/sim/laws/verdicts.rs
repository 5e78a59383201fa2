//! Every wanted name has a verdict at every turn, and it is true (P40): what is said is held against what is.
//!
//! What the shell cannot know yet is left out: hosts of which a watch has still to tell something. So late it may be else:
//! that a place is free again is seen at the next look at it; that the CA has said no, when it is asked.

use faythe_core::cas::CaId;
use faythe_core::cert::{Shortfall, Standing, standing};
use faythe_core::name::Hostname;
use faythe_core::order::Stage;
use faythe_core::plan::Planner;
use faythe_core::schedule::{ahead, is_hopeless};
use faythe_core::verdict::Reason;
use jiff::SignedDuration;

use super::{GRACE, LATE, Laws};
use crate::outside::{Leg, Outside, Trouble};
use crate::shell::Shell;

/// No promise is broken by the time that a turn takes.
const TURN: SignedDuration = SignedDuration::from_secs(2);
/// That somebody else's Secret has gone is seen within this: a minute between two looks, and an answer that is late.
const PLACE_FREED: SignedDuration = SignedDuration::from_mins(3);
/// What makes an order rest has gone wrong so lately, late answers included.
const LATELY: SignedDuration = SignedDuration::from_mins(3);
/// The loop looks at its clock this often.
const HEARTBEAT: SignedDuration = SignedDuration::from_secs(6);
/// An order that meets a note which was put back rests so often until that is found, within half an hour.
const FOUND_AFTER: u32 = 40;
/// The CA is asked at least this often while it has trouble, and may be late to answer.
const CA_ASKED: SignedDuration = SignedDuration::from_mins(7);

impl Laws {
    /// Nothing that was to happen has been slept through. Before a turn.
    pub(crate) fn check_promises(&mut self, planner: &Planner, outside: &Outside) {
        if self.was_clock_set_since(ahead(outside.now, -HEARTBEAT)) {
            return;
        }
        let late = planner.verdicts().find(|(_, verdict)| {
            let next = verdict.reason.next();
            next.is_some_and(|next| ahead(next, TURN) < outside.clock())
        });
        if let Some((host, verdict)) = late {
            let words = format!("{host} has slept: {}", verdict.reason);
            self.break_law(outside.now, &words);
        }
    }

    /// Work on `host` begins: not before it was said to.
    pub(crate) fn check_begin(&mut self, host: &Hostname, before: Option<&Reason>, outside: &Outside) {
        let next = match before {
            Some(Reason::Failed { next, .. }) => Some(*next),
            // Who asks anew ends a wait for an update.
            Some(Reason::Stalled { rest, .. })
                if matches!(rest.stage, Stage::Publishing | Stage::CleaningUp)
                    && self
                        .asked_anew
                        .get(host)
                        .is_some_and(|at| ahead(*at, LATE) > outside.now) =>
            {
                None
            }
            Some(Reason::Stalled { rest, .. }) => Some(rest.until),
            Some(_) | None => None,
        };
        let set = self.was_clock_set_since(ahead(outside.now, -HEARTBEAT));
        if !set && next.is_some_and(|next| next > outside.clock()) {
            let words = format!("{host} is tried before {next:?}");
            self.break_law(outside.now, &words);
        }
    }

    /// What is said of `host` is true; `is_told` says that no watch has anything left to tell of it.
    pub(crate) fn check_verdict(&mut self, host: &Hostname, shell: &Shell, is_told: bool, outside: &Outside) {
        if !is_told || !shell.world.is_known() {
            return;
        }
        let verdict = shell.planner.verdict(host).map(|verdict| &verdict.reason);
        let wanted = outside.cluster.wants(host);
        let truth = match verdict {
            None if wanted => Err("is wanted and has no verdict".to_owned()),
            None => Ok(()),
            Some(Reason::Unwanted) if wanted => Err("is wanted".to_owned()),
            Some(Reason::Unwanted) => Ok(()),
            Some(_) if !wanted => Err("is not wanted".to_owned()),
            Some(reason) => self.judge(host, reason, shell, outside),
        };
        if let Err(words) = truth {
            let said = verdict.map_or_else(String::new, |reason| format!(" ({reason})"));
            self.break_law(outside.now, &format!("{host}{said}: {words}"));
        }
    }

    fn judge(
        &self,
        host: &Hostname,
        reason: &Reason,
        shell: &Shell,
        outside: &Outside,
    ) -> Result<(), String> {
        let now = outside.clock();
        let held = outside.cluster.held(host);
        Self::check_hint(host, shell, outside)?;
        let rule = shell.world.rule(host, &shell.policy);
        let truth = standing(host, held.into_iter(), rule, now);
        let is_short = |short: &Shortfall| match &truth {
            Standing::Short(true_one) if true_one == short => Ok(()),
            Standing::Short(_) | Standing::Fine { .. } => Err(format!("the truth is {truth:?}")),
        };
        let lately = |trouble: Trouble| {
            let at = outside.trouble(host, trouble);
            at.is_some_and(|at| ahead(at, LATELY) >= outside.now)
        };
        let law = |holds: bool, words: &str| if holds { Ok(()) } else { Err(words.to_owned()) };
        match reason {
            Reason::Conflict { .. } => law(
                // And it is what was seen last while it is being looked at again, which waits for the CA's trouble to pass.
                outside.cluster.is_taken(host)
                    || shell.stage_of(host) == Some(Stage::Ordering)
                    || self.was_meddled_with_since(host, ahead(outside.now, -PLACE_FREED)),
                "the place is free",
            ),
            Reason::Failed { failures, next, .. } => {
                law(*next > now, "it should have been tried again")?;
                law(
                    *next == failures.next_attempt(GRACE.unsigned_abs(), None),
                    "that is not when it may be tried again",
                )?;
                law(
                    !shell.is_working_on(host) && outside.cluster.noted(host).is_none(),
                    "an order is under way",
                )?;
                // In a row: those since the last certificate was stored.
                let since = self.stored_at.get(host);
                let noes = outside.ca.noes.get(host).into_iter().flatten();
                let noes = noes.filter(|at| {
                    (**at <= failures.last || self.clock_wrong.is_some())
                        && since.is_none_or(|since| *at > since)
                });
                let noes = u32::try_from(noes.count()).unwrap();
                law(
                    failures.count <= noes || self.note_put_back.contains_key(host),
                    &format!("{} failures, and the CA said no {noes} times", failures.count),
                )
            }
            Reason::Held { hold, short } => {
                is_short(short)?;
                law(hold.until > now, "the hold is over")?;
                if hold.code == "slow-clock" {
                    // Ours is behind; or was ahead when it was stored, as the CA's was when it was made.
                    let ours = outside.clock_ahead.is_negative();
                    let theirs = outside.ca.begins_after(host, outside.now);
                    return law(ours || theirs, "the clocks are right");
                }
                if hold.code == "ca-unreachable" {
                    law(hold.until <= ahead(now, CA_ASKED), "nobody waits so long")?;
                    let lost = outside.lost_at(Leg::Ca);
                    let lost = lost.is_some_and(|at| ahead(at, CA_ASKED) >= outside.now);
                    return law(lost, "the CA answers");
                }
                law(
                    hold.code == "due-at-once"
                        || outside.ca.noes.values().any(|noes| !noes.is_empty())
                        || self.issued > 0,
                    "the CA has counted nothing",
                )
            }
            Reason::Issuing { stage, short } => {
                is_short(short)?;
                law(
                    shell.stage_of(host) == Some(*stage),
                    &format!("the work is at {:?}", shell.stage_of(host)),
                )
            }
            Reason::Queued(short) => {
                is_short(short)?;
                law(!shell.is_working_on(host), "it is being worked on")?;
                let ledger = shell.world.ledger(CaId::FIRST);
                let full = shell.planner.running() >= shell.policy.orders_at_once;
                let spent = ledger.free_orders(now) == Some(0) || ledger.free_in_domain(host, now) == Some(0);
                let trouble = shell.world.ca_is_in_trouble(CaId::FIRST) && shell.planner.running() > 0;
                let spent = spent && !Self::is_exempt(host, shell, outside);
                let id = held.and_then(|held| held.content.as_ref().ok()?.id.as_ref());
                let untold = id.is_some_and(|id| shell.world.is_untold(host, faythe_core::renewal::key(id)));
                law(
                    full || spent || trouble || untold || !shell.acts(),
                    "nothing keeps it waiting",
                )
            }
            Reason::Stalled { rest, short } => {
                is_short(short)?;
                law(rest.until > now, "the rest is over")?;
                // But for another order after many of no use.
                let soon = shell.world.given_up(host).is_some() || rest.until <= ahead(now, CA_ASKED);
                law(soon, "nobody rests so long")?;
                let went_wrong = match rest.code.as_str() {
                    "store-unavailable" => lately(Trouble::Lost(Leg::Cluster)),
                    // To mark what is ours is not to be at it too.
                    "store-conflict" => {
                        let others = self.leaders > 1
                            || self.was_meddled_with_since(host, ahead(outside.now, -LATELY))
                            || (self.note_put_back.contains_key(host) && rest.tries <= FOUND_AFTER);
                        lately(Trouble::Conflict) && others
                    }
                    "badkey" => lately(Trouble::Refused),
                    "dns-unreachable" | "dns-silent" => lately(Trouble::Lost(Leg::Dns)),
                    "not-visible" => lately(Trouble::Hidden),
                    // One that is given up for it is cleaned up first, too.
                    "ca-slow" => {
                        let given_up = shell.world.given_up(host).is_some() || is_hopeless(rest.tries);
                        lately(Trouble::CaSlow)
                            || (given_up && outside.trouble(host, Trouble::CaSlow).is_some())
                    }
                    "ca-unreachable" => lately(Trouble::Lost(Leg::Ca)),
                    // The order was cleaned up first, which may have taken its time.
                    "order-gone" | "order-expired" => outside.trouble(host, Trouble::Gone).is_some(),
                    "ca-cache" => true,
                    "slow-clock" => {
                        let wrong = self
                            .clock_wrong
                            .is_some_and(|at| ahead(at, CA_ASKED) >= outside.now);
                        let begins_later = outside.ca.begins_after(host, ahead(now, -CA_ASKED));
                        wrong || outside.clock_ahead.is_negative() || begins_later
                    }
                    _ => outside.trouble(host, Trouble::No).is_some(),
                };
                law(went_wrong, &format!("{} did not happen", rest.code))
            }
            Reason::Unwanted => Ok(()),
            Reason::Valid {
                secret,
                not_after,
                renew_at,
            } => {
                let said = Standing::Fine {
                    secret: secret.clone(),
                    not_after: *not_after,
                    renew_at: *renew_at,
                };
                // A clock that is behind makes no certificate worse that was known to serve.
                let true_by_time = standing(host, held.into_iter(), rule, outside.now);
                let behind = outside.clock_ahead.is_negative() && true_by_time == said;
                law(truth == said || behind, &format!("the truth is {truth:?}"))
            }
        }
    }
}
