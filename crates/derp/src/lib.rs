//! DERP relay client over an injected dialler
