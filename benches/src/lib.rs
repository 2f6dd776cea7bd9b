//! isamorph-benches.
