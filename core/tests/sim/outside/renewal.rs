//! What the CA says of the renewal of its certificates, and what replaces what (RFC 9773), as Boulder does it.

use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::ari::{CertificateId, Window};
use faythe_core::name::Hostname;
use faythe_core::order::OrderStatus;
use faythe_core::problem::ProblemKind;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use super::ca::{Ca, CaFault, CaOrder, refused};
use crate::certificates::{recalled, window};
use crate::dice::Dice;

/// The name of the certificate of an order.
pub(super) fn id(order: usize) -> CertificateId {
    CertificateId::parse(&format!("issuer.{order:x}")).unwrap()
}

/// When the certificate of an order begins.
pub(super) fn not_before(order: &CaOrder) -> Timestamp {
    ahead(order.issued, SignedDuration::from_hours(-1))
}

/// The order whose certificate has this name.
fn number(id: &CertificateId) -> Option<usize> {
    usize::from_str_radix(id.as_str().strip_prefix("issuer.")?, 16).ok()
}

impl Ca {
    /// When it wants a certificate renewed; nothing of one that it does not know.
    pub(crate) fn window(&self, id: &CertificateId, now: Timestamp) -> Option<Window> {
        let order = self.issued(id).filter(|_| self.habits.renewal_info.is_some())?;
        let life = SignedDuration::from_hours(self.habits.lifetime_hours);
        let not_before = not_before(order);
        Some(if order.revoked {
            recalled(self.clock(now))
        } else {
            window(not_before, ahead(not_before, life))
        })
    }

    /// The same, and when it wants to be asked again.
    pub(crate) fn renewal_info(
        &self,
        id: &CertificateId,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Option<(Window, Duration)> {
        let window = self.window(id, now)?;
        // A fifth more or less, as Boulder says it.
        let hours = self.habits.renewal_info?;
        let again = Duration::from_secs(dice.between(hours * 2_880, hours * 4_320).unsigned_abs());
        Some((window, again))
    }

    /// Revokes every certificate that is held somewhere; answers for whom.
    pub(crate) fn revoke<'a>(&mut self, held: impl Iterator<Item = &'a CertificateId>) -> Vec<Hostname> {
        let numbers = held.filter_map(number);
        let revoked = numbers.map(|number| {
            self.orders[number].revoked = true;
            self.orders[number].host.clone()
        });
        revoked.collect()
    }

    /// For whom a certificate is.
    pub(crate) fn host_of(&self, id: &CertificateId) -> Option<&Hostname> {
        self.issued(id).map(|order| &order.host)
    }

    /// Whether this certificate has been revoked.
    pub(crate) fn is_revoked(&self, id: &CertificateId) -> bool {
        self.issued(id).is_some_and(|order| order.revoked)
    }

    /// Which order a new one for `host` says to be the heir of, and whether it comes inside the window.
    pub(super) fn predecessor(
        &self,
        host: &Hostname,
        replaces: &CertificateId,
        now: Timestamp,
    ) -> Result<(usize, bool), CaFault> {
        let known = self.issued(replaces).filter(|known| known.host == *host);
        let (Some(number), Some(_)) = (number(replaces), known) else {
            return Err(refused(ProblemKind::Malformed, 404, None));
        };
        if self.is_replaced(number, now) {
            return Err(refused(ProblemKind::AlreadyReplaced, 409, None));
        }
        let window = self.window(replaces, now);
        let clock = self.clock(now);
        Ok((
            number,
            window.is_some_and(|window| window.start() <= clock && clock < window.end()),
        ))
    }

    /// Whether it has a successor, or an order for one is under way.
    pub(crate) fn is_replaced(&self, number: usize, now: Timestamp) -> bool {
        self.orders.iter().any(|other| {
            let open = match other.status {
                OrderStatus::Pending | OrderStatus::Ready | OrderStatus::Processing => {
                    other.expires > self.clock(now)
                }
                OrderStatus::Valid => true,
                OrderStatus::Invalid => false,
            };
            other.replaces == Some(number) && open
        })
    }

    /// Whether a certificate that it has made for `host` begins only after this.
    pub(crate) fn begins_after(&self, host: &Hostname, time: Timestamp) -> bool {
        let mut made = self.orders.iter().filter(|order| order.host == *host);
        made.any(|order| order.status == OrderStatus::Valid && not_before(order) > time)
    }

    fn issued(&self, id: &CertificateId) -> Option<&CaOrder> {
        let order = self.orders.get(number(id)?)?;
        (order.status == OrderStatus::Valid).then_some(order)
    }
}
