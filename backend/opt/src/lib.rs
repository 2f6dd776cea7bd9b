//! isamorph-opt.
