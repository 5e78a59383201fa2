//! The CA of a fleet: what it counts, the certificates that it has made, and when it wants them renewed.

use faythe_core::Timestamp;
use faythe_core::ari::{CertificateId, Window};
use faythe_core::cert::CertFacts;
use faythe_core::name::Hostname;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use crate::limits::Counts;

/// A CA, and a journal of what it saw.
pub(crate) struct Ca {
    pub(crate) counts: Counts,
    /// By serial number.
    certificates: Vec<Certificate>,
    /// How long a certificate lives, in hours.
    pub(crate) lifetime_hours: i64,
    /// Those whose certificates live for 160 hours instead.
    pub(crate) short_lived: fn(&Hostname) -> bool,
    pub(crate) away: bool,
    /// When new orders were asked for, in order.
    pub(crate) requests: Vec<Timestamp>,
}

#[derive(Clone, Copy)]
struct Certificate {
    window: Window,
    revoked: bool,
    replaced: bool,
}

/// Why there is no order.
#[derive(Debug)]
pub(crate) enum No {
    Away,
    Limited,
}

impl Ca {
    pub(crate) fn new(lifetime_hours: i64) -> Self {
        Self {
            counts: Counts::default(),
            certificates: Vec::new(),
            lifetime_hours,
            short_lived: |_| false,
            away: false,
            requests: Vec::new(),
        }
    }

    /// new-order; answers the number of the name, and whether it counts as a renewal.
    pub(crate) fn open(
        &mut self,
        host: &Hostname,
        replaces: Option<&CertificateId>,
        now: Timestamp,
    ) -> Result<(usize, bool), No> {
        self.requests.push(now);
        let number = self.counts.number(host);
        self.counts.asked(number, now);
        if self.away {
            return Err(No::Away);
        }
        let replaced = replaces.and_then(serial);
        let in_window = replaced.is_some_and(|serial| {
            let window = self.window_of(serial, now);
            let fresh = !self.certificates[serial].replaced;
            fresh && window.start() <= now && now < window.end()
        });
        let renewal = self
            .counts
            .open(number, in_window, now)
            .map_err(|_| No::Limited)?;
        if let Some(serial) = replaced {
            self.certificates[serial].replaced = true;
        }
        Ok((number, renewal))
    }

    /// The certificate is made.
    pub(crate) fn issue(&mut self, number: usize, renewal: bool, now: Timestamp) -> CertFacts {
        self.counts.issue(number, renewal, now);
        self.certify(number, now)
    }

    /// A certificate that was made at some time before the run, for which nothing is counted any more.
    pub(crate) fn make(&mut self, host: &Hostname, now: Timestamp) -> CertFacts {
        let number = self.counts.number(host);
        self.counts.made(number, now);
        self.certify(number, now)
    }

    fn certify(&mut self, number: usize, now: Timestamp) -> CertFacts {
        let not_before = ahead(now, SignedDuration::from_hours(-1));
        let life = SignedDuration::from_hours(self.lifetime_of(&self.counts.name(number).host));
        let not_after = ahead(not_before, life);
        let window = window(not_before, not_after);
        let serial = format!("{:x}", self.certificates.len());
        self.certificates.push(Certificate {
            window,
            revoked: false,
            replaced: false,
        });
        let id = CertificateId::parse(&format!("issuer.{serial}")).unwrap();
        CertFacts {
            names: vec![self.counts.name(number).host.clone()],
            not_before,
            not_after,
            serial,
            issuer: "Model".into(),
            id: Some(id),
        }
    }

    /// One that was made for another account: for this one its renewal is new.
    pub(crate) fn make_elsewhere(&mut self, host: &Hostname, now: Timestamp) -> CertFacts {
        let number = self.counts.number(host);
        self.certify(number, now)
    }

    /// How long certificates for a host live, in hours.
    pub(crate) fn lifetime_of(&self, host: &Hostname) -> i64 {
        if (self.short_lived)(host) {
            160
        } else {
            self.lifetime_hours
        }
    }

    pub(crate) fn revoke(&mut self, id: &CertificateId) {
        self.certificates[serial(id).unwrap()].revoked = true;
    }

    pub(crate) fn is_revoked(&self, id: &CertificateId) -> bool {
        serial(id).is_some_and(|serial| self.certificates[serial].revoked)
    }

    /// What it says of a certificate (RFC 9773 §4.2); of one that it does not know, nothing.
    pub(crate) fn window(&self, id: &CertificateId, now: Timestamp) -> Option<Window> {
        let serial = serial(id).filter(|serial| *serial < self.certificates.len())?;
        Some(self.window_of(serial, now))
    }

    /// For what is revoked, half an hour that is past already.
    fn window_of(&self, serial: usize, now: Timestamp) -> Window {
        let certificate = self.certificates[serial];
        if certificate.revoked {
            return recalled(now);
        }
        certificate.window
    }
}

fn serial(id: &CertificateId) -> Option<usize> {
    usize::from_str_radix(id.as_str().strip_prefix("issuer.")?, 16).ok()
}

/// The window as Boulder makes it: about the last third, or half of a short life, a hundredth of the life to either side.
pub(crate) fn window(not_before: Timestamp, not_after: Timestamp) -> Window {
    let life = not_before.duration_until(not_after);
    let offset = if life < SignedDuration::from_hours(240) {
        life / 2
    } else {
        life / 3
    };
    let ideal = ahead(not_after, -offset);
    Window::new(ahead(ideal, -(life / 100)), ahead(ideal, life / 100)).unwrap()
}

/// The window of what is revoked, as Boulder says it at this time.
pub(crate) fn recalled(now: Timestamp) -> Window {
    let minutes = |count| ahead(now, -SignedDuration::from_mins(count));
    Window::new(minutes(60), minutes(30)).unwrap()
}
