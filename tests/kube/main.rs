//! Everything that touches Kubernetes, against a real kube-apiserver and etcd.
//!
//! Each test has a namespace of its own and runs under exactly the rights of `deploy/rbac.yaml`, by the token of a
//! ServiceAccount; what a test prepares, it prepares as admin.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end at once")]

mod deploy;
mod events;
mod lease;
mod ledger;
mod notes;
mod place;
mod rights;
mod secrets;
mod sources;
