//! The mail store's agent, `cluster-store`: a program that is carried to the mail nodes as it is.

/// Where it lies on a mail node.
pub(super) const PATH: &str = "/usr/local/sbin/cluster-store";

/// The agent's program. Rendering does not look into it.
#[derive(Clone)]
pub struct Agent {
    bytes: Vec<u8>,
}

/// Why a file is not the agent's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// No 64-bit little-endian ELF file.
    #[error("it is no program of a 64-bit Linux machine (ELF)")]
    NoProgram,
    /// It needs a dynamic linker, and with it the C library of the machine on which it was built.
    #[error("it is linked with shared libraries, which a mail node may have in another version or not at all")]
    NotStatic,
}

impl Agent {
    /// The program of a file.
    ///
    /// # Errors
    /// [`AgentError`] if it is no program, or not one that runs without shared libraries.
    pub fn new(bytes: Vec<u8>) -> Result<Agent, AgentError> {
        let headers = program_headers(&bytes).ok_or(AgentError::NoProgram)?;
        if headers.into_iter().any(|kind| kind == INTERPRETER) {
            return Err(AgentError::NotStatic);
        }
        Ok(Agent { bytes })
    }

    /// Bytes that stand for the program where nobody runs it: in comparisons and in tests.
    pub fn stand_in() -> Agent {
        Agent {
            bytes: b"stands for the program cluster-store\n".to_vec(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Agent({} bytes)", self.bytes.len())
    }
}

/// `PT_INTERP` of elf(5): the program names a dynamic linker.
const INTERPRETER: u32 = 3;

/// The kinds of the program headers of a 64-bit little-endian ELF file (elf(5)).
fn program_headers(bytes: &[u8]) -> Option<Vec<u32>> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, length: usize| -> Option<usize> {
        let digits = bytes.get(at..at.checked_add(length)?)?;
        let value = digits
            .iter()
            .rev()
            .fold(0_u64, |value, digit| value << 8 | u64::from(*digit));
        usize::try_from(value).ok()
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    (0..count)
        .map(|index| {
            let kind = number(table.checked_add(index * size)?, 4)?;
            u32::try_from(kind).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file header and program headers of these kinds.
    fn elf(kinds: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56 * kinds.len()];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[32], bytes[54]) = (64, 56);
        bytes[56] = u8::try_from(kinds.len()).unwrap();
        for (index, kind) in kinds.iter().enumerate() {
            bytes[64 + 56 * index] = *kind;
        }
        bytes
    }

    #[test]
    fn a_program_without_dynamic_linker_is_taken() {
        assert!(Agent::new(elf(&[1, 1, 2])).is_ok());
        assert_eq!(Agent::new(elf(&[1, 3])).unwrap_err(), AgentError::NotStatic);
    }

    #[test]
    fn what_is_cut_off_or_no_program_is_refused() {
        for bytes in [b"#!/bin/sh\n".to_vec(), elf(&[1, 2])[..100].to_vec(), Vec::new()] {
            assert_eq!(Agent::new(bytes).unwrap_err(), AgentError::NoProgram);
        }
    }
}
