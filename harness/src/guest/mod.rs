//! The QEMU guest agent: run a command, read and write files, ask and set the time.
