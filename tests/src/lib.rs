//! isamorph-tests.
