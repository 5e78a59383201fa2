//! X.509 at the edge: reads PEM into facts, makes keys and signing requests.
