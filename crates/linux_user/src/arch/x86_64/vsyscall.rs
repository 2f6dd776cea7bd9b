//! The page of three system calls at a fixed address that statically linked programs from before the vDSO use
//! (Documentation/admin-guide/kernel-parameters, `vsyscall=xonly`): code that jumps there finds no memory, and the
//! fault is answered with the call.

use super::{get, set};
use crate::sys::{sched, time};
use crate::table::HandlerFn;
use crate::task::Cx;
use isamorph_x86::state::{EAX, EDI, EDX, ESI, ESP};

/// Where the page is.
const PAGE: u64 = 0xffff_ffff_ff60_0000;

/// The calls, which are 1024 bytes apart.
const CALLS: [HandlerFn; 3] = [time::gettimeofday, time::time, sched::getcpu];

/// The call that an address stands for.
fn call_at(pc: u64) -> Option<HandlerFn> {
    let offset = pc.checked_sub(PAGE).filter(|offset| offset.is_multiple_of(1024))?;
    CALLS.get((offset / 1024) as usize).copied()
}

/// Makes the call if the program counter is at one, and returns to the caller. `false` leaves the fault as it is.
pub fn enter(cx: &mut Cx) -> bool {
    let Some(call) = call_at(cx.state().pc()) else { return false };
    let sp = get(cx.state(), ESP);
    let Ok(back) = cx.read::<u64>(sp) else { return false };
    let args = [EDI, ESI, EDX].map(|reg| get(cx.state(), reg));
    let result = call(cx, [args[0], args[1], args[2], 0, 0, 0]);
    let state = cx.state_mut();
    set(state, EAX, result.unwrap_or_else(|e| -i64::from(e.0) as u64));
    set(state, ESP, sp.wrapping_add(8));
    state.set_pc(back);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_entries_are_calls() {
        assert!(call_at(PAGE).is_some() && call_at(PAGE + 0x800).is_some());
        assert!(call_at(PAGE + 1).is_none() && call_at(PAGE + 0xc00).is_none() && call_at(0x1000).is_none());
    }
}
