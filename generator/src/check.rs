//! The rules: each finding has a code, a place, what is wrong, why it matters and how to mend it.
