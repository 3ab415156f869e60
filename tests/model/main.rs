//! Model checks of the gate.
