//! isamorph-linux_user.
