//! From a description and its secrets to the in-memory tree of every node's files.
