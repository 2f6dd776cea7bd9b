//! isamorph-x86.
