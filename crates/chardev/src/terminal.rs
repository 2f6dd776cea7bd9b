//! The terminal on standard input: byte by byte for the guest, and as it was before for whoever comes after.

use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, isatty, tcgetattr,
    tcsetattr,
};
use std::io::stdin;
use std::sync::{Mutex, PoisonError};

/// The terminal's settings before [`make_raw`].
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Has the terminal pass every byte on at once, without an echo. Ctrl-C and its like go on sending signals if
/// `signals`. Nothing happens if standard input is no terminal.
pub(crate) fn make_raw(signals: bool) {
    if !isatty(stdin()) {
        return;
    }
    let Ok(before) = tcgetattr(stdin()) else { return };
    let mut raw = before.clone();
    raw.input_modes -= InputModes::IGNBRK
        | InputModes::BRKINT
        | InputModes::PARMRK
        | InputModes::ISTRIP
        | InputModes::INLCR
        | InputModes::IGNCR
        | InputModes::ICRNL
        | InputModes::IXON;
    raw.output_modes |= OutputModes::OPOST;
    raw.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::IEXTEN;
    raw.local_modes.set(LocalModes::ISIG, signals);
    raw.control_modes -= ControlModes::CSIZE | ControlModes::PARENB;
    raw.control_modes |= ControlModes::CS8;
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    if tcsetattr(stdin(), OptionalActions::Now, &raw).is_ok() {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(before);
    }
}

/// Gives the terminal its settings back, if they were changed. Every way out of the process must call it.
pub fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // There is nobody to tell.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}
