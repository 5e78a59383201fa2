//! What the CA shows of an order.

use faythe_core::order::{CaView, Challenge, ChallengeStatus, OrderStatus};
use faythe_core::problem::{Problem, ProblemKind};

use super::{Order, State};

impl State {
    /// An order as the CA shows it.
    pub(super) fn view(&self, number: usize) -> CaView {
        let mut view = view(&self.orders[number]);
        view.expires = self.faults.expires;
        let stalls = |below| number < below && view.status == OrderStatus::Processing;
        view.retry_after = self
            .faults
            .stall
            .filter(|(below, _)| stalls(*below))
            .map(|(_, wait)| wait);
        view
    }
}

fn view(order: &Order) -> CaView {
    let status = if order.told {
        ChallengeStatus::Processing
    } else {
        ChallengeStatus::Pending
    };
    let open = order.status == OrderStatus::Pending;
    let kind = if order.told {
        ProblemKind::Unauthorized
    } else {
        ProblemKind::ServerInternal
    };
    CaView {
        status: order.status,
        challenges: open
            .then(|| Challenge {
                value: order.value.clone(),
                status,
            })
            .into_iter()
            .collect(),
        problem: (order.status == OrderStatus::Invalid).then(|| Problem {
            status: None,
            kind,
            detail: "incorrect TXT record".into(),
            retry_after: None,
        }),
        expires: None,
        retry_after: None,
    }
}
