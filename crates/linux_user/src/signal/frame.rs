//! What an architecture needs to know to build a signal frame.

use super::info::SigInfo;
use super::{AltStack, SS_AUTODISARM, SigAction, SigSet, TaskSignals, sa};
use crate::abi::FaultRecord;

/// A signal on its way to its handler.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// What happened.
    pub info: SigInfo,
    /// The handler.
    pub action: SigAction,
    /// The mask that the frame restores.
    pub mask: SigSet,
    /// The alternate stack as the frame shows it.
    pub alt: AltStack,
    /// Where the frame goes: below this address.
    pub sp: u64,
    /// The last exception, for frames that show it.
    pub fault: FaultRecord,
    /// Address of the trampolines, for a handler without a restorer.
    pub trampoline: u64,
}

impl Delivery {
    /// Whether the handler gets a siginfo and a context.
    pub fn wants_info(&self) -> bool {
        self.action.has(sa::SIGINFO)
    }
}

/// The stack for a handler that interrupts code which runs at `sp`: the alternate one if the handler asks for it, it
/// exists and is not in use. Also returns whether the stack is being switched to.
pub fn choose_stack(signals: &TaskSignals, action: &SigAction, sp: u64) -> (u64, bool) {
    let alt = signals.alt;
    if action.has(sa::ONSTACK) && alt.size.0 != 0 && !signals.on_alt_stack(sp) {
        (alt.sp.0.wrapping_add(alt.size.0), true)
    } else {
        (sp, false)
    }
}

/// Whether entering a handler on the alternate stack disables it.
pub fn disarms(alt: &AltStack) -> bool {
    alt.flags & SS_AUTODISARM != 0
}
