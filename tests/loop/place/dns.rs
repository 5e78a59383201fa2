//! The zone: what stands in it, and who shows it.

use faythe::dns::{Answer, AskError, Dns, DnsError, Foreign, LookError, UpdateFault};
use faythe_core::caa;
use faythe_core::name::{DnsName, RecordName};
use faythe_core::route::Found;
use faythe_core::zone::Check;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::Place;

impl Dns for Place {
    fn repaired(&self) -> BoxFuture<'_, ()> {
        self.0.repaired.notified().boxed()
    }

    fn adopt(&self, _: &DnsName, _: &RecordName, _: &str) {}

    fn publish<'a>(
        &'a self,
        zone: &'a DnsName,
        record: &'a RecordName,
        value: &'a str,
        _: Foreign,
    ) -> BoxFuture<'a, Result<(), DnsError>> {
        self.call(format!("publish {record} {value}"), move |state| {
            if state.faults.refuse_updates.contains(record) {
                return Err(DnsError {
                    zone: zone.clone(),
                    server: "ns".into(),
                    key: "key".into(),
                    cause: UpdateFault::Refused("policy"),
                    more: Vec::new(),
                });
            }
            state
                .txt
                .entry(record.clone())
                .or_default()
                .insert(value.to_owned());
            Ok(())
        })
        .boxed()
    }

    fn withdraw<'a>(
        &'a self,
        _: &'a DnsName,
        record: &'a RecordName,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), DnsError>> {
        self.call(format!("withdraw {record} {value}"), move |state| {
            if let Some(values) = state.txt.get_mut(record) {
                values.remove(value);
                if values.is_empty() {
                    state.txt.remove(record);
                }
            }
            Ok(())
        })
        .boxed()
    }

    fn caa<'a>(
        &'a self,
        _: &'a DnsName,
        names: &'a [DnsName],
    ) -> BoxFuture<'a, Result<Option<caa::Found>, AskError>> {
        let records = self.state().caa.clone();
        let found = names
            .last()
            .filter(|_| !records.is_empty())
            .map(|apex| caa::Found {
                at: apex.clone(),
                records,
            });
        async { Ok(found) }.boxed()
    }

    fn authority<'a>(&'a self, _: &'a DnsName) -> BoxFuture<'a, Vec<(String, Result<u32, LookError>)>> {
        async { vec![("ns".to_owned(), Ok(1))] }.boxed()
    }

    fn look<'a>(
        &'a self,
        _: &'a DnsName,
        check: &'a Check,
        record: &'a RecordName,
    ) -> BoxFuture<'a, Result<Answer, LookError>> {
        self.call(format!("look {} {record}", check.server), move |state| {
            if state.faults.hide || state.faults.lag && check.server == "secondary" {
                return Ok(Answer::default());
            }
            let values = state.txt.get(record).into_iter().flatten().cloned().collect();
            Ok(Answer { values, remark: None })
        })
        .boxed()
    }

    fn find<'a>(&'a self, _: &'a DnsName, record: &'a RecordName) -> BoxFuture<'a, Result<Found, AskError>> {
        self.call(format!("find {record}"), move |state| {
            Ok(state.aliases.get(record).cloned().unwrap_or(Found::Here))
        })
        .boxed()
    }

    fn survey<'a>(&'a self, _: &'a DnsName) -> BoxFuture<'a, Result<Vec<Check>, AskError>> {
        async { Ok(Vec::new()) }.boxed()
    }
}
