//! One verdict per certificate: its state, why, since when and what comes next (P40).
//!
//! The same text stands in the log, in Events and wherever else people look; machines use the codes, which never change
//! their meaning. The operators' guide lists every code (`docs/verdicts.md`; a test keeps it complete).

use std::fmt;

use jiff::{Timestamp, Unit};

use crate::activity::{Hold, Rest};
use crate::budget::Kind;
use crate::cert::Shortfall;
use crate::order::Stage;
use crate::schedule::{Failures, Why};
use crate::want::Refusal;

/// What is to be said of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// State and cause.
    pub reason: Reason,
    /// Since when the state and its code are the same.
    pub since: Timestamp,
}

/// State and cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The place of its Secret is somebody else's.
    Conflict {
        /// Whose, and what to do.
        text: String,
    },
    /// The CA has seen an attempt fail, and the next one has to wait.
    Failed {
        /// What failed.
        failures: Failures,
        /// When it is tried again.
        next: Timestamp,
        /// Why it is tried before the usual time, where it is.
        sooner: Option<Why>,
    },
    /// The CA has asked us to wait, or has trouble.
    Held {
        /// Why and until when.
        hold: Hold,
        /// Why it is needed.
        short: Shortfall,
    },
    /// An order is under way.
    Issuing {
        /// How far.
        stage: Stage,
        /// Why it is needed.
        short: Shortfall,
    },
    /// It will be ordered as soon as orders before it have gone on.
    Queued(Shortfall),
    /// An order rests after a fault that the CA has not seen.
    Stalled {
        /// The fault.
        rest: Rest,
        /// Why it is needed.
        short: Shortfall,
    },
    /// Nobody asks for it any more, and its order is being cleaned up.
    Unwanted,
    /// A certificate serves.
    Valid {
        /// The Secret that holds it.
        secret: Box<str>,
        /// When it expires.
        not_after: Timestamp,
        /// When it will be renewed.
        renew_at: Timestamp,
    },
}

/// Where a certificate stands that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which one it is, from 1.
    pub nth: usize,
    /// Of how many that wait for the same.
    pub of: usize,
    /// About when its turn comes if nothing else happens.
    pub at: Timestamp,
    /// What keeps it waiting longest.
    pub gate: Gate,
    /// The registered domain, where that is a limit of it.
    pub domain: Option<Box<str>>,
}

/// What keeps a certificate waiting for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// A limit of the CA.
    Limit(Kind),
    /// What has time begins one by one.
    Pace,
    /// No more orders are worked on at once.
    Room,
    /// One at a time asks whether the CA's trouble is over.
    Trouble,
}

/// States of a certificate, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Somebody else's Secret is in the way.
    Conflict,
    /// Waiting after a failed attempt.
    Failed,
    /// Waiting because the CA said so.
    Held,
    /// An order is under way.
    Issuing,
    /// Waiting for its turn.
    Queued,
    /// Waiting after a fault on our side.
    Stalled,
    /// Being brought to an end, for nobody.
    Unwanted,
    /// Served.
    Valid,
}

/// How loudly something is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Something worth an Event on an Ingress that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// How loud.
    pub severity: Severity,
    /// The Event's reason, in CamelCase.
    pub reason: &'static str,
    /// The text.
    pub text: String,
    /// What makes it the same announcement as an earlier one.
    pub key: String,
}

impl Reason {
    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Conflict { .. } => State::Conflict,
            Self::Failed { .. } => State::Failed,
            Self::Held { .. } => State::Held,
            Self::Issuing { .. } => State::Issuing,
            Self::Queued(_) => State::Queued,
            Self::Stalled { .. } => State::Stalled,
            Self::Unwanted => State::Unwanted,
            Self::Valid { .. } => State::Valid,
        }
    }

    /// The cause's stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Conflict { .. } => "secret-not-ours",
            Self::Failed { failures, .. } => &failures.code,
            Self::Held { hold, .. } => &hold.code,
            Self::Issuing { stage, .. } => stage.code(),
            Self::Queued(short) => short.code(),
            Self::Stalled { rest, .. } => &rest.code,
            Self::Unwanted => "unwanted",
            Self::Valid { .. } => "valid",
        }
    }

    /// When something will happen by itself.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        match self {
            Self::Failed { next, .. } => Some(*next),
            Self::Held { hold, .. } => Some(hold.until),
            Self::Stalled { rest, .. } => Some(rest.until),
            Self::Valid { renew_at, .. } => Some(*renew_at),
            Self::Conflict { .. } | Self::Issuing { .. } | Self::Queued(_) | Self::Unwanted => None,
        }
    }

    /// What is to be said of it on the Ingresses that ask; nothing while all goes its way.
    #[must_use]
    pub fn announcement(&self) -> Option<Announcement> {
        /// A fault on our side is worth an Event when it has outlived a few tries, not when one packet was lost.
        const TRIES: u32 = 3;
        let warning = |reason, key: String| {
            Some(Announcement {
                severity: Severity::Warning,
                reason,
                text: self.to_string(),
                key,
            })
        };
        match self {
            Self::Conflict { text } => warning("SecretNotOurs", format!("conflict {text}")),
            Self::Failed { failures, .. } => warning(
                "IssuanceFailed",
                format!("failed {} {}", failures.code, failures.last),
            ),
            Self::Stalled { rest, .. } if rest.tries >= TRIES => {
                warning("IssuanceStalled", format!("stalled {}", rest.code))
            }
            Self::Held { .. }
            | Self::Issuing { .. }
            | Self::Queued(_)
            | Self::Stalled { .. }
            | Self::Unwanted
            | Self::Valid { .. } => None,
        }
    }
}

impl Refusal {
    /// What is to be said of it on its Ingress.
    #[must_use]
    pub fn announcement(&self) -> Announcement {
        Announcement {
            severity: Severity::Warning,
            reason: "HostRefused",
            text: format!(
                "no certificate can be made for host {:?}: {}",
                self.text, self.why
            ),
            key: format!("refused {}", self.text),
        }
    }
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Conflict,
        Self::Failed,
        Self::Held,
        Self::Issuing,
        Self::Queued,
        Self::Stalled,
        Self::Unwanted,
        Self::Valid,
    ];

    /// Stable code for metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Issuing => "issuing",
            Self::Queued => "queued",
            Self::Stalled => "stalled",
            Self::Unwanted => "unwanted",
            Self::Valid => "valid",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { text } => f.write_str(text),
            Self::Failed {
                failures,
                next,
                sooner,
            } => {
                write!(f, "the CA has seen {} fail: ", attempts(failures.count))?;
                f.write_str(&failures.text)?;
                if failures.parked {
                    f.write_str("; it will not succeed until something is changed")?;
                }
                match sooner {
                    Some(Why::Configuration) => f.write_str("; the configuration is another one now")?,
                    Some(Why::Hand) => f.write_str("; it has been asked for by hand")?,
                    None => {}
                }
                write!(f, "; tried again at {}", at(*next))?;
                if failures.parked && sooner.is_none() {
                    f.write_str(", or when `faythe renew` asks for it")?;
                }
                Ok(())
            }
            Self::Held { hold, short } => {
                write!(f, "{short}; {}; goes on at {}", hold.text, at(hold.until))
            }
            Self::Issuing { stage, short } => write!(f, "{}; {short}", doing(*stage)),
            Self::Queued(short) => write!(f, "waits for its turn; {short}"),
            Self::Stalled { rest, .. } => {
                write!(
                    f,
                    "{}; tried {} so far; tried again at {}",
                    rest.text,
                    times(rest.tries),
                    at(rest.until)
                )
            }
            Self::Unwanted => f.write_str("no Ingress asks for it any more; its order is brought to an end"),
            Self::Valid {
                secret,
                not_after,
                renew_at,
            } => {
                write!(
                    f,
                    "valid until {}, in Secret {secret}; renewed from {}",
                    at(*not_after),
                    at(*renew_at)
                )
            }
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}, at about {}: ", self.nth, self.of, at(self.at))?;
        match self.gate {
            Gate::Limit(limit) => write!(f, "the CA limits {}", limit.words())?,
            Gate::Pace => f.write_str("renewals that have time begin one by one")?,
            Gate::Room => f.write_str("orders before it go on first")?,
            Gate::Trouble => {
                f.write_str("the CA seems to be in trouble, and one at a time asks whether that is over")?
            }
        }
        if let Some(domain) = &self.domain {
            write!(f, " ({domain})")?;
        }
        Ok(())
    }
}

/// To the second; nobody reads further.
fn at(time: Timestamp) -> Timestamp {
    time.round(Unit::Second).unwrap_or(time)
}

fn times(tries: u32) -> String {
    if tries == 1 {
        "once".to_owned()
    } else {
        format!("{tries} times")
    }
}

fn attempts(count: u32) -> String {
    if count == 1 {
        "the attempt".to_owned()
    } else {
        format!("{count} attempts in a row")
    }
}

fn doing(stage: Stage) -> &'static str {
    match stage {
        Stage::Ordering => "asking the CA for an order",
        Stage::Publishing => "publishing the challenge in the DNS",
        Stage::Checking => "checking that every server shows the challenge",
        Stage::Validating => "the CA is validating the challenge",
        Stage::Finalizing => "the CA is making the certificate",
        Stage::Storing => "storing the certificate",
        Stage::CleaningUp => "removing the challenge from the DNS",
    }
}

#[cfg(test)]
mod tests;
