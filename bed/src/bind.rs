//! BIND, the name server of most tests: what they use of [`names`](crate::names) under the names they know it by.

pub use crate::names::{Algorithm, Key, NameServer as Bind, Setup};
