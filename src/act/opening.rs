//! The step that costs something at the CA: making an order, with the ledger's leave, and telling the ledger what became
//! of it.

use faythe_core::budget::Spending;
use faythe_core::caa;
use faythe_core::problem::Exchange;

use super::fault::Fault;
use super::steps::new_key;
use super::{Outcome, Progress, Then, Work};
use crate::ca::{CaError, NewOrder};

impl Work<'_> {
    /// Makes an order. Where there is no leave for one, as after an order that has lapsed meanwhile, the work ends, and the
    /// plan decides anew.
    pub(super) async fn open(&mut self) -> Result<Then, Fault> {
        // P06: where its value can go nowhere, an order would be in vain.
        let route = match self.order.way.take() {
            Some(way) => way?,
            None => self.find_way().await?,
        };
        self.take_way(route);
        if self.order.grant.is_none() {
            return Ok(Then::End(Outcome::Settled));
        }
        if self.is_excluded().await? {
            return Ok(Then::End(Outcome::Settled));
        }
        let Some(grant) = self.order.grant.take() else {
            return Ok(Then::End(Outcome::Settled));
        };
        // Made first: a kill between here and the note costs an order, and an RSA key takes its time.
        if self.order.key.is_none() {
            self.order.key = Some(new_key(self.outside.key_type).await?);
        }
        self.order.unnoted = tokio::select! {
            place = self.outside.unnoted.take() => Some(place.ok_or_else(Fault::unnoted)?),
            () = self.stop.cancelled() => return Ok(Then::GoOn),
        };
        let order = NewOrder {
            profile: self.outside.profiles.get(&self.order.zone).map(String::as_str),
            replaces: self.order.replaces.as_ref(),
        };
        let opened = self.desk().ca.act()?.open(grant, order).await;
        self.spent(match &opened {
            // It was not asked for.
            Err(CaError::NoLeave) => Spending::Ended,
            Err(
                CaError::Account(_)
                | CaError::Irreplaceable(_)
                | CaError::Moved(_)
                | CaError::Refused(_)
                | CaError::Unregistered(_),
            ) => Spending::Refused,
            // An answer that was lost or cannot be read may have been a yes.
            Err(
                CaError::Garbled { .. }
                | CaError::Gone { .. }
                | CaError::Unreachable { .. }
                | CaError::Unread { .. },
            )
            | Ok(_) => Spending::Ordered,
        });
        (self.order.counted, self.order.requested, self.order.refusals) = (false, false, 0);
        let session = match opened {
            Ok(session) => session,
            Err(CaError::Irreplaceable(problem)) => {
                let host = self.order.host.clone();
                tracing::debug!(%host, %problem, "ordered anew without the certificate that it replaces");
                // Nobody listens only when the process is about to end.
                let _ = self.progress.send(Progress::Irreplaceable(host));
                return Ok(Then::End(Outcome::Settled));
            }
            Err(error) => {
                if let CaError::Unread { url, expires, .. } = &error
                    && !self.note_unread(url, *expires).await?
                {
                    return Ok(Then::GoOn);
                }
                return Err(Fault::ca(&error, Exchange::NewOrder));
            }
        };
        self.take_up(session, (self.outside.now)());
        self.ca_has_done_it();
        Ok(Then::GoOn)
    }

    /// Whether CAA records keep the CA from issuing for the host, so that an order would be in vain (P24). The plan is told,
    /// and chooses anew. The CA is asked for its names only where there are records at all.
    async fn is_excluded(&mut self) -> Result<bool, Fault> {
        let exclusion = match self.order.caa.take() {
            Some(found) => {
                let issuer = self.desk().ca.read().issuer().await;
                let issuer = issuer.map_err(|error| Fault::ca(&error, Exchange::NewOrder))?;
                caa::exclusion(&self.order.host, &found, &issuer)
            }
            None => None,
        };
        let is_excluded = exclusion.is_some();
        let (host, ca) = (self.order.host.clone(), self.order.ca);
        // Nobody listens only when the process is about to end.
        let _ = self.progress.send(Progress::Caa(host, ca, exclusion));
        Ok(is_excluded)
    }

    /// Tells the ledger once that the CA has issued a certificate: when it says so, for it has counted it by then, whatever
    /// becomes of the download.
    ///
    /// An order of an earlier process that is valid when it is taken up counts too. That process may have counted it already:
    /// what a kill leaves unknown is rather counted twice, and forgiven as soon as any other.
    pub(super) fn count_issued(&mut self) {
        if !std::mem::replace(&mut self.order.counted, true) {
            self.spent(Spending::Issued);
        }
    }

    /// Tells the ledger.
    pub(super) fn spent(&self, what: Spending) {
        // Nobody listens only when the process is about to end.
        let _ = self.progress.send(Progress::Spent(self.order.host.clone(), what));
    }
}
