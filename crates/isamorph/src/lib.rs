//! isamorph.
