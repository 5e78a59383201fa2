//! What can go wrong in a step, reduced to what follows from it: one place that turns the errors of the adapters into a
//! code, a text for people, and a pause.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::name::{DnsName, RecordName};
use faythe_core::order::{CaView, Note, OrderStatus};
use faythe_core::problem::{Exchange, PAUSED, Problem, ProblemKind, Reaction, Scope};
use faythe_core::route::RouteFault;
use faythe_core::visibility::{Glance, Sight};
use faythe_core::zone::{Check, Rule};

use crate::ca::CaError;
use crate::dns::{AskError, DnsError, UpdateFault};
use crate::lease::NotLeading;
use crate::store::StoreError;

/// A server that answers without the value is asked again within this (S10, P04).
const HIDDEN_REST: Duration = Duration::from_secs(2);
/// A server that does not answer at all is asked again within this.
const SILENT_REST: Duration = Duration::from_secs(5);
/// The code of an order whose time at the CA is over.
const EXPIRED: &str = "order-expired";
/// The code of a record that the DNS has not shown for so long that somebody has to see to it.
const UNSEEN: &str = "dns-not-visible";

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable code.
    pub code: String,
    /// What was wrong, and the remedy where there is one.
    pub text: String,
    /// What follows.
    pub pause: Pause,
}

/// What follows from a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The order is of no use; it is cleaned up, and a new one may follow.
    Abandon,
    /// The certificate's key is not acceptable: another one, once.
    NewKey,
    /// The CA has seen it fail.
    Doom {
        /// Whether somebody has to change something first.
        parked: bool,
        /// The CA's own bound.
        wait: Option<Duration>,
    },
    /// The same step is tried again.
    Rest {
        /// After this; `None` for the usual back-off.
        wait: Option<Duration>,
        /// What else has to wait for the CA, and for how long if the CA said so.
        hold: Option<(Scope, Option<Duration>)>,
    },
    /// This instance leads no more: whoever does goes on.
    Stop,
}

impl Fault {
    /// A failed exchange with the CA.
    #[must_use]
    pub fn ca(error: &CaError, during: Exchange) -> Self {
        let text = chain(error);
        let everything = |wait| Pause::Rest {
            wait,
            hold: Some((Scope::Account, wait)),
        };
        let (code, pause) = match error {
            CaError::Irreplaceable(problem) | CaError::Refused(problem) => {
                return Self::problem(problem, during);
            }
            CaError::Unregistered(problem) => return Self::problem(problem, Exchange::NewAccount),
            CaError::Moved(source) => {
                // The order is taken up anew with the account as it is now.
                let pause = rest(None);
                let fault = Self::ca(source, during);
                return Self { text, pause, ..fault };
            }
            CaError::Unread { source, .. } => {
                let mut fault = Self::ca(source, Exchange::Order);
                if fault.pause == Pause::Abandon {
                    // It was made a moment ago: one more look will tell whether it is lost.
                    fault.pause = rest(None);
                }
                return fault;
            }
            CaError::Gone { .. } => ("order-gone", Pause::Abandon),
            CaError::Garbled {
                retry_after,
                status: Some(429 | 503),
                ..
            } => ("ca-garbled", everything(*retry_after)),
            CaError::Garbled { retry_after, .. } => (
                "ca-garbled",
                Pause::Rest {
                    wait: *retry_after,
                    hold: Some((Scope::Order(None), *retry_after)),
                },
            ),
            CaError::NoLeave => return NotLeading.into(),
            CaError::Unreachable { .. } => ("ca-unreachable", everything(None)),
            CaError::Account(_) => ("account", everything(None)),
        };
        Self {
            code: code.to_owned(),
            text,
            pause,
        }
    }

    /// An order that the CA has given up.
    #[must_use]
    pub fn invalid(view: &CaView, now: Timestamp) -> Self {
        match &view.problem {
            Some(problem) => Self::problem(problem, Exchange::Validation),
            // The CA has seen nothing fail (RFC 8555 §7.1.6).
            None if view.is_past(now) => Self::expired(),
            None => Self {
                code: "order-invalid".to_owned(),
                text: "the CA has given the order up and says no reason".to_owned(),
                pause: Pause::Doom {
                    parked: false,
                    wait: None,
                },
            },
        }
    }

    /// An order whose time is over, whatever the CA says of its state (P23).
    #[must_use]
    pub fn expired() -> Self {
        Self {
            code: EXPIRED.to_owned(),
            text: "the order has expired at the CA".to_owned(),
            pause: Pause::Abandon,
        }
    }

    /// Whether the order's time was over.
    #[must_use]
    pub fn is_expiry(&self) -> bool {
        self.code == EXPIRED
    }

    /// Whether the DNS has not shown a record for so long that somebody has to see to it.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.code == UNSEEN
    }

    fn problem(problem: &Problem, during: Exchange) -> Self {
        let pause = match problem.reaction(during) {
            Reaction::Hold {
                scope: Scope::Name,
                wait,
            } => Pause::Doom { parked: false, wait },
            // What waits for a person is held, and the order can be tried as soon as that ends.
            Reaction::Hold { scope, wait } => Pause::Rest {
                wait: problem.retry_after,
                hold: Some((scope, wait)),
            },
            Reaction::Later => Pause::Doom {
                parked: false,
                wait: problem.retry_after,
            },
            Reaction::NewKey => Pause::NewKey,
            Reaction::Renew => Pause::Abandon,
            // The order is read again when it is taken up again.
            Reaction::Reread | Reaction::Soon => Pause::Rest {
                wait: problem.retry_after,
                hold: None,
            },
            Reaction::Stop => Pause::Doom {
                parked: true,
                wait: problem.retry_after,
            },
        };
        let (code, text) = if problem.is_pause() {
            (
                PAUSED,
                format!("the CA has paused this name until a person unpauses it; it says {problem}"),
            )
        } else {
            (problem.kind.as_str(), format!("the CA says {problem}"))
        };
        Self {
            code: code.to_owned(),
            text,
            pause,
        }
    }

    /// Values that not every server shows yet; past the deadline with what every one of them answers (P01).
    #[must_use]
    pub fn unseen(
        sight: &Sight,
        rule: &Rule,
        servers: &[Check],
        record: &RecordName,
        now: Timestamp,
    ) -> Self {
        if sight.is_late(rule, now) {
            let report = sight.report(servers);
            return Self {
                code: UNSEEN.to_owned(),
                text: format!(
                    "the challenge at {record} is still not visible where it has to be: {report}; see that these servers get \
                     the zone's changes; they go on being asked"
                ),
                pause: rest(None),
            };
        }
        let mut code = None;
        let mut wait = SILENT_REST;
        let mut words = Vec::new();
        for check in sight.laggards(servers) {
            match sight.glance(check) {
                Some(Glance::Failed { code: failed, text }) => {
                    code = code.or(Some(*failed));
                    words.push(format!("{check} {text} (asked for TXT {record})"));
                }
                Some(Glance::Hidden { text }) => {
                    code = code.or(Some("not-visible"));
                    wait = HIDDEN_REST;
                    words.push(format!("{check} {text} at {record}, not yet the challenge"));
                }
                Some(Glance::Shown) | None => {}
            }
        }
        Self {
            code: code.unwrap_or("not-visible").to_owned(),
            text: words.join("; "),
            pause: rest(Some(wait)),
        }
    }

    /// A zone whose name servers cannot be found out.
    #[must_use]
    pub fn survey(zone: &DnsName, error: &AskError) -> Self {
        Self {
            code: "dns-survey".to_owned(),
            text: format!("the name servers of zone {zone} are not known: {error}"),
            pause: rest(Some(SILENT_REST)),
        }
    }

    /// A note's zone that is configured no more.
    #[must_use]
    pub fn no_zone(zone: &DnsName) -> Self {
        Self {
            code: "dns-no-zone".to_owned(),
            text: format!(
                "a challenge stands in zone {zone}, which is not in the configuration any more; put it back"
            ),
            pause: rest(None),
        }
    }

    /// A note of an order at a CA that is configured no more.
    #[must_use]
    pub fn no_ca(note: &Note) -> Self {
        let ca = note.directory.as_deref().unwrap_or(&note.order_url);
        Self {
            code: "ca-not-configured".to_owned(),
            text: format!(
                "an order was under way at {ca}, which is not among `cas` any more; its challenge is withdrawn, and \
                 another order follows"
            ),
            pause: Pause::Abandon,
        }
    }

    /// Whether the CA does not issue for the name, now or at all, so that another may be asked at once.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        /// Certificates are forgiven within days. A limit that is over sooner is one on failures, and what this CA has seen
        /// fail another would see too.
        const OF_CERTIFICATES: Duration = Duration::from_secs(3_600);
        let is_limit = self.code == ProblemKind::RateLimited.as_str();
        let lasts = |wait: Option<Duration>| wait.is_none_or(|wait| wait >= OF_CERTIFICATES);
        let is_used_up = is_limit && matches!(self.pause, Pause::Doom { wait, .. } if lasts(wait));
        is_used_up
            || self.code == PAUSED
            || [
                ProblemKind::Caa,
                ProblemKind::RejectedIdentifier,
                ProblemKind::UnsupportedIdentifier,
            ]
            .iter()
            .any(|kind| self.code == kind.as_str())
    }

    /// A value that a resolver of the CA may not see before `until`.
    #[must_use]
    pub fn cache(until: Timestamp, now: Timestamp) -> Self {
        let wait = Duration::try_from(now.duration_until(until)).unwrap_or_default();
        let text = "the CA looked at this challenge record for another certificate a moment ago, and its resolvers may \
                    remember what they saw";
        Self {
            code: "ca-cache".to_owned(),
            text: text.to_owned(),
            pause: rest(Some(wait)),
        }
    }

    /// A CA that leaves an order in one state for longer than is waited for at a time.
    #[must_use]
    pub fn slow_ca(status: OrderStatus) -> Self {
        let text = match status {
            OrderStatus::Pending => "the CA is still validating the challenge",
            OrderStatus::Processing => "the CA is still making the certificate",
            OrderStatus::Ready => "the CA has taken the signing request, and waits for one still",
            OrderStatus::Valid | OrderStatus::Invalid => "the CA is slow",
        };
        Self {
            code: "ca-slow".to_owned(),
            text: text.to_owned(),
            pause: rest(None),
        }
    }

    /// The same for so long that nothing more is to be hoped of the order; a new one follows (P23).
    #[must_use]
    pub fn stuck_order(status: OrderStatus) -> Self {
        Self {
            pause: Pause::Abandon,
            ..Self::slow_ca(status)
        }
    }

    /// A key that makes no request.
    #[must_use]
    pub fn unusable_key(error: &dyn Error) -> Self {
        let text = format!("no signing request can be made: {}", chain(error));
        Self {
            code: "key".to_owned(),
            text,
            pause: Pause::Abandon,
        }
    }

    /// A chain that does not keep what the order promised.
    #[must_use]
    pub fn bad_chain(error: &dyn Error) -> Self {
        let text = format!("the CA's certificate is not what was ordered: {}", chain(error));
        Self {
            code: "bad-chain".to_owned(),
            text,
            pause: Pause::Doom {
                parked: false,
                wait: None,
            },
        }
    }

    /// A certificate that begins in the future by our clock: that is what is wrong, and the certificate waits at the CA.
    #[must_use]
    pub fn slow_clock(error: &dyn Error, now: Timestamp, from: Timestamp) -> Self {
        /// A clock that is mended is noticed within this.
        const LONGEST: Duration = Duration::from_secs(300);
        let wait = Duration::try_from(now.duration_until(from)).unwrap_or_default();
        Self {
            code: "slow-clock".to_owned(),
            text: format!("{}; it is stored when it has begun", chain(error)),
            pause: rest(Some(wait.min(LONGEST))),
        }
    }

    /// The same, with the same order again after `wait`.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        let pause = rest(Some(wait));
        Self { pause, ..self }
    }

    /// Orders before it of which no note can be saved: each more would be one more to lose (P16).
    #[must_use]
    pub fn unnoted() -> Self {
        let text =
            "no note can be saved of the orders before it, which say why; none is made until there is one";
        Self {
            code: "not-noted".to_owned(),
            text: text.to_owned(),
            pause: rest(None),
        }
    }

    /// An order whose challenges are not those that were noted.
    #[must_use]
    pub fn strange_order(url: &str) -> Self {
        let text = format!("the challenges of order {url} are not those that were noted");
        Self {
            code: "strange-order".to_owned(),
            text,
            pause: Pause::Abandon,
        }
    }
}

impl From<CaError> for Fault {
    fn from(error: CaError) -> Self {
        Self::ca(&error, Exchange::Order)
    }
}

impl From<DnsError> for Fault {
    fn from(error: DnsError) -> Self {
        Self {
            code: error.cause.code().to_owned(),
            text: chain(&error),
            pause: if error.cause == UpdateFault::NoLeave {
                Pause::Stop
            } else {
                rest(None)
            },
        }
    }
}

impl From<NotLeading> for Fault {
    fn from(error: NotLeading) -> Self {
        Self {
            code: "not-leading".to_owned(),
            text: error.to_string(),
            pause: Pause::Stop,
        }
    }
}

impl From<RouteFault> for Fault {
    fn from(fault: RouteFault) -> Self {
        Self {
            code: fault.code().to_owned(),
            text: fault.to_string(),
            pause: rest(None),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let (code, wait) = match &error {
            StoreError::Conflict { .. } => ("store-conflict", None),
            StoreError::Forbidden { .. } => ("store-forbidden", None),
            StoreError::Refused { .. } => ("store-refused", None),
            StoreError::Unavailable { retry_after, .. } => ("store-unavailable", *retry_after),
            StoreError::Unreadable { .. } => ("store-unreadable", None),
        };
        Self {
            code: code.to_owned(),
            text: chain(&error),
            pause: rest(wait),
        }
    }
}

fn rest(wait: Option<Duration>) -> Pause {
    Pause::Rest { wait, hold: None }
}

/// The error with all its causes, outermost first.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
