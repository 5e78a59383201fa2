//! A model of the questions about renewal in `src/run/errands.rs`.

use faythe_core::ari::CertificateId;
use faythe_core::world::{Answer, Question};

use super::Shell;
use crate::laws::Laws;
use crate::outside::{Leg, Outside};

impl Shell {
    /// Asks the CA about a certificate.
    pub(crate) fn ask_hint(
        &self,
        certificate: &CertificateId,
        outside: &mut Outside,
        laws: &mut Laws,
    ) -> Answer {
        if outside.ca.habits.renewal_info.is_none() {
            return Answer::Unsupported;
        }
        laws.asks(self.life, certificate, outside);
        let told = outside.ask(Leg::Ca, None, |outside| {
            let Outside { ca, now, dice, .. } = outside;
            ca.renewal_info(certificate, *now, dice)
        });
        match told {
            None => Answer::Busy { retry_after: None },
            Some(None) => Answer::Refused,
            Some(Some((window, again))) => {
                laws.is_told(self.life, certificate, again, outside);
                Answer::Told {
                    window,
                    retry_after: Some(again),
                }
            }
        }
    }

    /// The answer has arrived.
    pub(crate) fn hinted(&mut self, question: Question, answer: Answer, outside: &Outside) {
        let now = self.now(outside);
        self.world.hinted(question, answer, now);
    }
}
