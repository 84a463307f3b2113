//! Control, DERP and STUN server for tests and the demo
