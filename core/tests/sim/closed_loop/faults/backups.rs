//! Backups are put back in the middle of a life: one Secret, some or all, as they were days ago. What has been written since is
//! written over, what has been deleted is there again, and so may be notes of orders that have ended, and an old ledger.

use faythe_core::budget::Record;
use faythe_core::cert::Held;
use faythe_core::name::Hostname;

use super::super::Sim;
use crate::outside::Saved;

/// So many are kept.
const KEPT: usize = 4;

/// What was put away at one time.
#[derive(Clone)]
pub(in super::super) struct Backup {
    certificates: Vec<(Hostname, Held)>,
    notes: Vec<(Hostname, Saved)>,
    ledger: Option<Record>,
}

impl Sim {
    /// One of those that were put away is put back, and what there is now is put away.
    pub(super) fn put_a_backup_back(&mut self) {
        let cluster = &self.outside.cluster;
        let notes = cluster.notes.iter();
        let now = Backup {
            certificates: cluster.secrets.values().cloned().collect(),
            notes: notes
                .map(|(host, (_, saved))| (host.clone(), saved.clone()))
                .collect(),
            ledger: cluster.ledger.1.clone(),
        };
        let chosen = self.outside.dice.pick(&self.backups).cloned();
        self.backups.push(now);
        if self.backups.len() > KEPT {
            self.backups.remove(0);
        }
        let Some(backup) = chosen else { return };
        // How many of a thousand, besides one that is certain.
        let share = *self.outside.dice.pick(&[0, 500, 1_000]).unwrap();
        let certain = self.outside.dice.pick(&backup.certificates).cloned();
        for (host, held) in certain.into_iter().chain(backup.certificates) {
            if share > 0 && !self.outside.dice.chance(share) {
                continue;
            }
            self.put_certificate_back(&host, held);
            if share == 0 {
                break;
            }
        }
        if share > 0 && self.outside.dice.chance(500) {
            for (host, saved) in backup.notes {
                if self.outside.dice.chance(share) {
                    self.laws.puts_note_back(&host, &saved, self.outside.now);
                    self.outside.cluster.put_note(&host, saved);
                }
            }
        }
        if let Some(record) = backup.ledger
            && share > 0
            && self.outside.dice.chance(300)
        {
            self.laws.ledger_put_back = Some(self.outside.now);
            let (saves, ledger) = &mut self.outside.cluster.ledger;
            (*saves, *ledger) = (*saves + 1, Some(record));
        }
    }

    fn put_certificate_back(&mut self, host: &Hostname, held: Held) {
        let cluster = &mut self.outside.cluster;
        let there = cluster.held(host);
        if there.is_some_and(|there| there.content == held.content) || cluster.is_taken(host) {
            return;
        }
        self.laws.puts_back(host, self.outside.now);
        cluster.write(host, held);
    }
}
