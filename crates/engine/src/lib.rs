//! isamorph-engine.
