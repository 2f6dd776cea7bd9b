//! How the command ends before a guest runs.

/// A reason to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Help was asked for.
    Help,
    /// The version was asked for.
    Version,
    /// This was asked for.
    Text(String),
    /// It cannot go on.
    Failed {
        /// Why.
        message: String,
        /// The exit status.
        status: u8,
    },
}

impl End {
    /// A failure with the usual status.
    pub fn failed(message: impl Into<String>) -> Self {
        End::Failed { message: message.into(), status: 1 }
    }
    /// Something that QEMU has.
    pub fn unsupported(what: &str) -> Self {
        End::failed(format!("{what}: not supported yet by this build"))
    }
}
