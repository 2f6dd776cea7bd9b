//! isamorph-interp.
