//! The text of a message between DATA and the final dot (RFC 5321, 4.5.2), passed on as it comes. Only `CRLF . CRLF` ends
//! it; a dot after a bare line feed is doubled, so that a reader which is less strict finds no other end.

/// Where in a line the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// After CRLF, or at the very beginning.
    #[default]
    Start,
    /// A dot at the start.
    Dot,
    /// A dot at the start, and CR.
    DotCr,
    /// Within a line.
    Middle,
    /// After CR.
    Cr,
    /// After LF without CR.
    BareLf,
}

/// Finds the end of a text.
#[derive(Debug, Default)]
pub struct Text {
    at: At,
}

impl Text {
    /// Takes in bytes and adds what is to be passed on; gives how many were taken once the end is among them. The final dot
    /// is not passed on.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        for (index, byte) in bytes.iter().enumerate() {
            match (self.at, *byte) {
                (At::Start, b'.') => {
                    self.at = At::Dot;
                    continue;
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotCr;
                    continue;
                }
                (At::DotCr, b'\n') => return Some(index + 1),
                (At::Dot, b'\n') => out.extend_from_slice(b".."),
                (At::Dot, _) => out.push(b'.'),
                (At::DotCr, _) => {
                    out.extend_from_slice(b".\r");
                    self.at = At::Cr;
                }
                (At::BareLf, b'.') => out.push(b'.'),
                _ => {}
            }
            out.push(*byte);
            self.at = match (self.at, *byte) {
                (At::Cr, b'\n') => At::Start,
                (_, b'\n') => At::BareLf,
                (_, b'\r') => At::Cr,
                _ => At::Middle,
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(pieces: &[&[u8]]) -> (Vec<u8>, Option<usize>) {
        let (mut text, mut out) = (Text::default(), Vec::new());
        for piece in pieces {
            if let Some(taken) = text.take(piece, &mut out) {
                return (out, Some(taken));
            }
        }
        (out, None)
    }

    #[test]
    fn the_end_is_found_across_pieces_and_what_follows_is_left() {
        let (out, taken) = passed(&[b"a\r\n.", b"\r", b"\nQUIT\r\n"]);
        assert_eq!((out, taken), (b"a\r\n".to_vec(), Some(1)));
    }

    #[test]
    fn an_empty_text_ends_at_once() {
        assert_eq!(passed(&[b".\r\n"]), (Vec::new(), Some(3)));
    }

    #[test]
    fn dots_that_the_client_has_doubled_stay_doubled() {
        assert_eq!(passed(&[b"..a\r\n.\r\n"]), (b"..a\r\n".to_vec(), Some(8)));
    }

    #[test]
    fn a_dot_between_bare_line_feeds_is_no_end_for_anybody() {
        assert_eq!(passed(&[b"a\n.\nb\r\n.\r\n"]).0, b"a\n..\nb\r\n");
        assert_eq!(passed(&[b"a\r\n.\nb\r\n.\r\n"]).0, b"a\r\n..\nb\r\n");
        assert_eq!(passed(&[b"a\n.\r\nb\r\n.\r\n"]).0, b"a\n..\r\nb\r\n");
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(text in "[a.\r\n]{0,40}", cut in 0..40_usize) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let (whole, end) = passed(&[bytes]);
            let (pieces, _) = passed(&[&bytes[..cut], &bytes[cut..]]);
            prop_assert_eq!(&whole, &pieces);
            // The reader that takes every line feed for the end of a line finds no end in it.
            let lenient = String::from_utf8_lossy(&whole).replace("\r\n", "\n");
            prop_assert!(!lenient.starts_with(".\n") && !lenient.contains("\n.\n"), "{lenient:?} {end:?}");
        }
    }
}
