//! A file's length and a hash of what it holds, by which damage shows. Blocks of zeros count as holes: a file that was
//! copied with or without its holes has the same seal.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// Bytes looked at together.
const BLOCK: usize = 256 * 1024;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What a file must be like to be the one that was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Length in bytes.
    pub length: u64,
    /// Bytes that are no holes.
    pub data: u64,
    /// XXH3 over position and contents of each block that is not all zeros, as hex. It finds damage; it is no proof
    /// against somebody who wants to deceive.
    pub hash: String,
}

impl Seal {
    /// Reads a file through.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(path: &Path) -> io::Result<Seal> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut hash = Xxh3::new();
        let mut block = vec![0; BLOCK];
        let (mut at, mut data) = (0, 0);
        while let Some(next) = next_data(&file, at)? {
            // From the beginning of the block in which the data begins, so that blocks do not depend on holes.
            at = next - next % BLOCK as u64;
            let here = BLOCK.min(usize::try_from(length - at).unwrap_or(BLOCK));
            let block = &mut block[..here];
            file.read_exact_at(block, at)?;
            if *block != ZEROS[..here] {
                hash.update(&at.to_be_bytes());
                hash.update(block);
                data += here as u64;
            }
            at += here as u64;
        }
        Ok(Seal {
            length,
            data,
            hash: format!("{:016x}", hash.digest()),
        })
    }
}

/// Where data begins at or after a position; `None` when only a hole follows (lseek(2), `SEEK_DATA`).
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match lseek(file, at.cast_signed(), Whence::SeekData) {
        Ok(next) => Ok(Some(next.cast_unsigned())),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// A file with data at these positions.
    fn file(length: u64, data: &[(u64, &[u8])]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(length).expect("a length");
        for (at, bytes) in data {
            file.seek(SeekFrom::Start(*at)).expect("a place");
            file.write_all(bytes).expect("written");
        }
        file
    }

    fn seal(file: &tempfile::NamedTempFile) -> Seal {
        Seal::of(file.path()).expect("a readable file")
    }

    #[test]
    fn the_same_contents_have_the_same_seal_with_and_without_holes() {
        let holes = file(3_000_001, &[(0, b"a"), (2_000_000, b"b")]);
        let mut whole = vec![0; 3_000_001];
        (whole[0], whole[2_000_000]) = (b'a', b'b');
        assert_eq!(seal(&holes), seal(&file(3_000_001, &[(0, &whole)])));
    }

    #[test]
    fn one_flipped_bit_shows() {
        let data = vec![7; 1_000_000];
        let mut flipped = data.clone();
        flipped[777_777] ^= 1;
        assert_ne!(
            seal(&file(1_000_000, &[(0, &data)])),
            seal(&file(1_000_000, &[(0, &flipped)]))
        );
    }

    #[test]
    fn a_bit_in_a_hole_shows() {
        assert_ne!(
            seal(&file(9_000_000, &[])),
            seal(&file(9_000_000, &[(8_999_999, &[1])]))
        );
    }

    #[test]
    fn a_missing_end_shows_even_if_it_was_a_hole() {
        assert_ne!(
            seal(&file(2_000_000, &[(0, b"a")])),
            seal(&file(1_999_999, &[(0, b"a")]))
        );
    }

    #[test]
    fn data_at_another_place_shows() {
        assert_ne!(
            seal(&file(2_000_000, &[(0, &[1])])),
            seal(&file(2_000_000, &[(1_000_000, &[1])]))
        );
    }
}
