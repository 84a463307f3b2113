//! Wiring of the node.
