//! isamorph-host.
