//! What no step of an order may do, and what no state of it may be.

use std::collections::BTreeMap;

use faythe_core::order::Step;

use super::{AtCa, InDns, OPEN, Process, State};

/// What no step may do, and what no state may be.
#[derive(Default)]
pub(super) struct Laws {
    pub(super) broken: BTreeMap<String, String>,
}

impl Laws {
    fn law(&mut self, holds: bool, words: &str, state: &State) {
        if !holds {
            self.broken
                .entry(words.to_owned())
                .or_insert_with(|| format!("{state:?}"));
        }
    }

    pub(super) fn check(&mut self, state: &State, process: &Process, step: &Step) {
        let at_ca = process.order.map(|order| (state.orders[order], state.dns[order]));
        match step {
            Step::Open => self.law(
                state.note.is_none(),
                "an order is opened while another is noted",
                state,
            ),
            Step::Publish => {
                let noted = state.note.is_some() && state.note == process.order;
                self.law(noted, "a value is published before it is noted", state);
            }
            Step::Tell => {
                let visible = at_ca.is_some_and(|(_, value)| value == InDns::Visible);
                self.law(visible, "the CA is told before the value is visible", state);
            }
            Step::Withdraw => {
                let looking =
                    process.seen == Some(AtCa::Told) && at_ca.is_some_and(|(order, _)| order == AtCa::Told);
                let served = process.place != Some(OPEN);
                self.law(
                    !looking || served || process.abandoned,
                    "a value is taken away while the CA looks",
                    state,
                );
            }
            Step::Store => self.law(
                state.note.is_some(),
                "a certificate without a note is stored",
                state,
            ),
            Step::Inspect
            | Step::Note
            | Step::Resume
            | Step::Look
            | Step::AwaitNeighbors
            | Step::AwaitCache(_)
            | Step::Ask
            | Step::AwaitCertificate
            | Step::Finalize
            | Step::GiveUp
            | Step::RecordFailure
            | Step::Forget
            | Step::End(_) => {}
        }
    }

    pub(super) fn check_state(&mut self, state: &State) {
        self.law(state.stored <= 1, "a certificate is stored twice", state);
        self.law(state.values_stand() <= 1, "two values stand at once", state);
        self.law(
            !state.failure || state.rejected,
            "a failure is recorded that never was",
            state,
        );
        if state.is_at_rest() {
            self.law(state.values_stand() == 0, "a value is left behind", state);
            let waits = state.taken && state.wanted;
            self.law(state.note.is_none() || waits, "a note is left behind", state);
            let got = state.stored == 1 || !state.wanted || state.failure || state.taken;
            self.law(got, "it rests without a certificate", state);
        }
    }
}
