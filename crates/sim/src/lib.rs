//! Deterministic network simulator that drives the real engine
