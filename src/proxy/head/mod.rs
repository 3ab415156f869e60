//! Message heads: what may pass, who is believed, and how they are written anew. Pure.

pub(in crate::proxy) mod check;
pub(in crate::proxy) mod classify;
pub(in crate::proxy) mod deadline;
pub(in crate::proxy) mod fields;
pub(in crate::proxy) mod headers;
pub(in crate::proxy) mod scan;
pub(in crate::proxy) mod trust;
