//! From what was typed to what it means.
