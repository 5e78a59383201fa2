//! ACME over HTTP.
