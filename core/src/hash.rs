//! A hash that never changes: places in a window and keys of saved counts are derived from it.
//!
//! The standard library's hashes may differ from one version or process to the next. Deliberately absent: any claim to
//! withstand somebody who looks for collisions; whoever finds one shares a count with a stranger and gains nothing.

/// The hash of some texts; where one ends and the next begins makes a difference.
#[must_use]
pub fn stable(texts: &[&str]) -> u64 {
    // FNV-1a, and the finish of MurmurHash3, without which texts that differ in the last letter lie close together.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut take = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for text in texts {
        text.bytes().for_each(&mut take);
        // No text holds this byte.
        take(0xff);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// A share from 0 to just below 1 that belongs to some texts; many of them are spread evenly.
#[must_use]
pub fn share(texts: &[&str]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are all that a share has")]
    let upper = (stable(texts) >> 11) as f64;
    upper / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_for_ever() {
        assert_eq!(stable(&[]), 0xefd0_1f60_ba99_2926);
        assert_ne!(stable(&["ab", "c"]), stable(&["a", "bc"]));
    }

    #[test]
    fn p20_names_that_are_alike_are_spread_evenly() {
        let mut tenths = [0; 10];
        for i in 0..10_000 {
            let share = share(&[&format!("host-{i}.example.com")]);
            assert!((0.0..1.0).contains(&share));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to 9"
            )]
            let tenth = (share * 10.0) as usize;
            tenths[tenth] += 1;
        }
        assert!(
            tenths.iter().all(|count| (900..1100).contains(count)),
            "{tenths:?}"
        );
    }
}
