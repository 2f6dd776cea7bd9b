//! isamorph-cache.
