//! The part of the world that concerns renewal: what the CA has said about certificates, and when it is asked again
//! (RFC 9773 §4.3).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::World;
use crate::ari::{CertificateId, Window};
use crate::budget::Exemption;
use crate::name::Hostname;
use crate::policy::Policy;
use crate::renewal::{self, Hint, Rule};
use crate::schedule::{after, ahead};

/// Bounds of the time after which the CA is asked again, whatever it says (RFC 9773 §4.3.2).
const POLLS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));
/// The time after which it is asked again where it says none, and after an error that will last (RFC 9773 §4.3.3).
const USUAL: Duration = Duration::from_secs(6 * 3_600);
/// The first pause after an error that will pass; it doubles.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// A CA without renewal information may have learned it by then.
const WITHOUT: SignedDuration = SignedDuration::from_hours(24);

/// What is known of the CA's wishes for one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The certificate: [`renewal::key`] of its name at the CA.
    pub of: u64,
    /// What the CA said last; `None` while it has said nothing that can be followed.
    pub window: Option<Window>,
    /// When it is asked again.
    pub next: Timestamp,
    /// How often in a row it has not answered.
    pub tries: u32,
    /// Whether it is being asked.
    pub asking: bool,
}

/// How a question about a certificate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No answer, or one that says to come back; it will pass.
    Busy,
    /// The CA does not know the certificate, or what it says makes no sense.
    Refused,
    /// The CA has said when.
    Told {
        /// The window.
        window: Window,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The CA has no renewal information at all.
    Unsupported,
}

/// Everything known of the CA's wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub(super) asked: BTreeMap<Hostname, Asked>,
    /// How many questions are under way.
    asking: usize,
    /// The CA has no renewal information; nothing is asked before this.
    without_until: Option<Timestamp>,
}

impl World {
    /// What the CA has said about the certificate of `host`.
    #[must_use]
    pub fn hint(&self, host: &Hostname) -> Option<Hint> {
        let asked = self.hints.asked.get(host)?;
        Some(Hint {
            of: asked.of,
            window: asked.window?,
        })
    }

    /// When the certificates of `host` are renewed.
    #[must_use]
    pub fn rule(&self, host: &Hostname, policy: &Policy) -> Rule {
        Rule {
            threshold: policy.threshold,
            spread: policy.spread,
            hint: self.hint(host),
        }
    }

    /// What an order for `host` would be exempt from.
    #[must_use]
    pub fn exemption(&self, host: &Hostname, now: Timestamp) -> Exemption {
        renewal::exemption(host, self.claims(host), self.hint(host).as_ref(), now)
    }

    /// The certificate that a new one for `host` takes the place of.
    #[must_use]
    pub fn predecessor(&self, host: &Hostname) -> Option<CertificateId> {
        renewal::predecessor(host, self.claims(host), self.hint(host).as_ref())
    }

    /// The CA was asked about the certificate `id` of `host`, and this is what it said.
    pub fn hinted(&mut self, host: &Hostname, id: &CertificateId, answer: Answer, now: Timestamp) {
        if answer == Answer::Unsupported {
            self.hints.without_until = Some(ahead(now, WITHOUT));
            self.holds_changed = true;
        }
        let of = renewal::key(id);
        let Some(asked) = self.hints.asked.get_mut(host).filter(|asked| asked.asking) else {
            return;
        };
        asked.asking = false;
        self.hints.asking -= 1;
        self.dirty.insert(host.clone());
        if asked.of != of {
            return;
        }
        let wait = match answer {
            Answer::Told { window, retry_after } => {
                asked.window = Some(window);
                asked.tries = 0;
                retry_after.unwrap_or(USUAL).clamp(POLLS.0, POLLS.1)
            }
            Answer::Busy => {
                asked.tries = asked.tries.saturating_add(1);
                FIRST_RETRY
                    .saturating_mul(1 << (asked.tries - 1).min(12))
                    .min(USUAL)
            }
            Answer::Refused | Answer::Unsupported => {
                asked.tries = asked.tries.saturating_add(1);
                USUAL
            }
        };
        asked.next = after(now, wait);
    }

    /// What is known of the CA's wishes for the certificate `of` of `host`; nothing before it was asked.
    #[must_use]
    pub fn asked(&self, host: &Hostname, of: u64) -> Option<&Asked> {
        self.hints.asked.get(host).filter(|asked| asked.of == of)
    }

    /// Before when no CA is asked for renewal information, because it has none.
    #[must_use]
    pub fn without_hints_until(&self) -> Option<Timestamp> {
        self.hints.without_until
    }

    /// How many questions are under way.
    #[must_use]
    pub fn asking(&self) -> usize {
        self.hints.asking
    }

    /// The CA is about to be asked about the certificate `of` of `host`.
    pub(crate) fn ask_for_hint(&mut self, host: &Hostname, of: u64, now: Timestamp) {
        let asked = self.hints.asked.entry(host.clone()).or_insert(Asked {
            of,
            window: None,
            next: now,
            tries: 0,
            asking: false,
        });
        if asked.of != of {
            *asked = Asked {
                of,
                window: None,
                next: now,
                tries: 0,
                ..*asked
            };
        }
        if !asked.asking {
            asked.asking = true;
            self.hints.asking += 1;
        }
        self.dirty.insert(host.clone());
    }

    /// Forgets what the CA said of a certificate that is of no interest any more.
    pub(super) fn drop_hint(&mut self, host: &Hostname) {
        if self.hints.asked.remove(host).is_some_and(|asked| asked.asking) {
            self.hints.asking -= 1;
        }
    }
}
