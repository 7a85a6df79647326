//! Tests that cross crates; each file beside this folder is one subject.
