//! Why an image cannot be used.

use std::io;

/// Why an image cannot be opened, made or checked. The texts are those that users know from QEMU where it has them.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The host does not open the file.
    #[error("Could not open '{name}': {}", reason(.error))]
    Open {
        /// Its name.
        name: String,
        /// What the host says.
        error: io::Error,
    },
    /// Someone else has the file open in a way that does not go together with ours.
    #[error("Failed to get {}\"{permission}\" lock\nIs another process using the image [{name}]?",
        if *.shared { "shared " } else { "" })]
    Locked {
        /// Name of the file.
        name: String,
        /// What was not to be had.
        permission: &'static str,
        /// Whether it is others' use that was to be ruled out.
        shared: bool,
    },
    /// Something of the format that is not implemented.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The image contradicts itself.
    #[error("{0}")]
    Malformed(String),
    /// An option has a value that makes no sense.
    #[error("{0}")]
    Option(String),
    /// Reading or writing failed.
    #[error("{}", reason(.0))]
    Io(#[from] io::Error),
}

impl BlockError {
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        BlockError::Malformed(text.into())
    }
    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        BlockError::Unsupported(text.into())
    }
}

/// What the host says, without the number that Rust puts behind it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
