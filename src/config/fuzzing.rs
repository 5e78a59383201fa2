//! An entry for fuzz tests of configuration files; see `crate::fuzzing`.

use std::path::Path;

use super::v1;

/// A file, named as JSON and as YAML. What is wrong with it is said in words.
pub fn file(bytes: &[u8]) {
    for name in ["config.json", "config.yaml"] {
        if let Err(problems) = v1::parse(Path::new(name), bytes, &|_, _| Ok(())) {
            assert!(!problems.to_string().is_empty());
        }
    }
}
