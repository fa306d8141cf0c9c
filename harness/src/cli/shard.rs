//! One part of a suite, for one of several CI machines.

use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The I-th of N parts. Which part a scenario belongs to follows from its name alone, so that machines need not agree on
/// anything, and a new scenario moves no other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    part: u64,
    of: u64,
}

impl Shard {
    /// Whether a scenario of this name is in the part.
    pub fn holds(&self, name: &str) -> bool {
        let digest = Sha256::digest(name);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        u64::from_be_bytes(first) % self.of == self.part - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let wrong = || format!("`{text}` is no part: write the second of three parts as 2/3");
        let (part, of) = text.split_once('/').ok_or_else(wrong)?;
        let (part, of) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        if part == 0 || part > of {
            return Err(wrong());
        }
        Ok(Shard { part, of })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_part_is_written_as_a_fraction() {
        assert_eq!("2/3".parse(), Ok(Shard { part: 2, of: 3 }));
        for wrong in ["", "2", "0/3", "4/3", "a/b", "1/0", "-1/2"] {
            let error = wrong.parse::<Shard>().expect_err(wrong);
            assert_eq!(
                error,
                format!("`{wrong}` is no part: write the second of three parts as 2/3")
            );
        }
    }

    proptest! {
        #[test]
        fn every_name_is_in_exactly_one_part(name in "[a-z-]{1,20}", of in 1..9_u64) {
            let parts = (1..=of).filter(|part| Shard { part: *part, of }.holds(&name));
            prop_assert_eq!(parts.count(), 1);
        }
    }
}
