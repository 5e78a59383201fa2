//! The whole of Faythe on real servers: kube-apiserver, etcd, Pebble and BIND, started by the bed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end at once")]
#![expect(
    clippy::disallowed_methods,
    reason = "certificates are valid by the real clock"
)]

mod live {
    mod account;
    mod api_faults;
    mod base;
    mod budgets;
    mod ca_faults;
    mod ca_orders;
    mod ca_proofs;
    mod ca_reactions;
    mod cas;
    mod certificates;
    mod challenges;
    mod check;
    mod crash;
    mod dns_chaos;
    mod dns_faults;
    mod endings;
    mod front;
    mod hosts;
    mod image;
    mod leaders;
    mod limits;
    mod look;
    mod pace;
    mod process;
    mod quiet;
    mod recall;
    mod resolvers;
    mod secondaries;
    mod secrets;
    mod secrets_faults;
    mod servers;
    mod stage;
    mod step_ca;
    mod sweep;
    mod waits;
    mod ways;
    mod zones;
}
