//! The head's rules, row by row.
