//! The whole of Faythe on real servers: kube-apiserver, etcd, Pebble and BIND, started by the bed.

mod live {
    mod api_faults;
    mod base;
    mod dns_faults;
    mod look;
    mod secrets_faults;
}
