//! Sequences of inputs and the effects they must have.
