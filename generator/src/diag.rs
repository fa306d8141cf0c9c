//! Messages that point at a place in a TOML file: file, line, caret, help.
