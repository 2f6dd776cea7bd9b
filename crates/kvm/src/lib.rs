//! KVM as an accelerator.
