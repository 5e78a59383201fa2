//! What the CA does with one order.

use std::time::Duration;

use faythe::ca::{CaError, CaOrder};
use faythe_core::order::{CaView, OrderStatus};
use faythe_core::problem::{Problem, ProblemKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use rcgen::CertificateSigningRequestParams;

use super::{Place, end_of};

/// An order as one process has it.
pub(super) struct Session {
    pub(super) place: Place,
    pub(super) number: usize,
    pub(super) url: String,
    pub(super) view: CaView,
}

impl CaOrder for Session {
    fn url(&self) -> &str {
        &self.url
    }

    fn view(&self) -> &CaView {
        &self.view
    }

    fn refresh(&mut self) -> BoxFuture<'_, Result<(), CaError>> {
        async move {
            let number = self.number;
            self.view = self
                .place
                .call(format!("refresh {number}"), |state| {
                    state.ca_answers("refresh")?;
                    let fails = state.faults.fail_validation;
                    let stalls = state.faults.stall.is_some_and(|at| number < at.0);
                    let order = &mut state.orders[number];
                    order.status = match order.status {
                        OrderStatus::Pending if order.told && fails => OrderStatus::Invalid,
                        OrderStatus::Pending if order.told => OrderStatus::Ready,
                        OrderStatus::Processing if !stalls => OrderStatus::Valid,
                        OrderStatus::Pending
                        | OrderStatus::Processing
                        | OrderStatus::Ready
                        | OrderStatus::Valid
                        | OrderStatus::Invalid => order.status,
                    };
                    Ok(state.view(number))
                })
                .await?;
            Ok(())
        }
        .boxed()
    }

    fn answer(&mut self) -> BoxFuture<'_, Result<(), CaError>> {
        async move {
            let number = self.number;
            self.view = self
                .place
                .call(format!("tell {number}"), |state| {
                    state.ca_answers("tell")?;
                    let wanted = state.orders[number].value.clone();
                    let sees = state.ca_sees(&wanted);
                    let order = &mut state.orders[number];
                    let seen = state.txt.get(&end_of(&state.aliases, &order.value.record));
                    let visible = seen.is_some_and(|values| values.contains(&order.value.value));
                    assert!(
                        visible,
                        "the CA is told of order {number} before its value stands"
                    );
                    assert!(sees, "P15: the CA's resolver remembers nothing of order {number}");
                    order.told = true;
                    Ok(state.view(number))
                })
                .await?;
            Ok(())
        }
        .boxed()
    }

    fn finalize<'a>(&'a mut self, csr: &'a [u8]) -> BoxFuture<'a, Result<(), CaError>> {
        async move {
            let number = self.number;
            let mut request = CertificateSigningRequestParams::from_der(&csr.to_vec().into()).unwrap();
            request.params.use_authority_key_identifier_extension = true;
            if let Some(day) = self.place.state().faults.begins {
                request.params.not_before = rcgen::date_time_ymd(2026, 1, day);
            }
            let chain = request.signed_by(&self.place.0.issuer).unwrap().pem();
            self.view = self
                .place
                .call(format!("finalize {number}"), |state| {
                    state.ca_answers("finalize")?;
                    if let Some(problem) = &state.faults.refuse_requests {
                        return Err(CaError::Refused(problem.clone()));
                    }
                    if state.faults.poisoned.contains(&number) {
                        return Err(CaError::Refused(Problem {
                            status: Some(500),
                            kind: ProblemKind::ServerInternal,
                            detail: "error finalizing order".into(),
                            retry_after: Some(Duration::from_secs(60)),
                        }));
                    }
                    let order = &mut state.orders[number];
                    if order.status != OrderStatus::Ready {
                        return Err(CaError::Refused(Problem {
                            status: Some(403),
                            kind: ProblemKind::OrderNotReady,
                            detail: "it has been finalized".into(),
                            retry_after: None,
                        }));
                    }
                    if let Some(left) = state.faults.shrugs.checked_sub(1) {
                        state.faults.shrugs = left;
                        return Ok(state.view(number));
                    }
                    order.status = OrderStatus::Processing;
                    order.chain = Some(chain);
                    Ok(state.view(number))
                })
                .await?;
            Ok(())
        }
        .boxed()
    }

    fn certificate(&mut self) -> BoxFuture<'_, Result<String, CaError>> {
        async move {
            let number = self.number;
            let line = format!("download {number}");
            let chain = self
                .place
                .call(line, |state| {
                    state.ca_answers("download")?;
                    if state.faults.lose_certificates {
                        return Err(CaError::Gone {
                            url: "https://ca".into(),
                        });
                    }
                    Ok(state.orders[number].chain.clone())
                })
                .await?;
            Ok(chain.unwrap())
        }
        .boxed()
    }
}
