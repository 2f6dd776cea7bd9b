//! isamorph-x64.
