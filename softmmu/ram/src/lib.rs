//! isamorph-ram.
