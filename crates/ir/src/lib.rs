//! The intermediate representation that every guest is lifted to and every back end compiles.
//!
//! One op table ([`op`]) lists what can be said; [`region`] is the shape of what is said; [`builder`] says it;
//! [`state`] is where guest registers live when no code runs; [`machine`] is what running code needs around it.

pub mod builder;
pub mod machine;
pub mod op;
pub mod region;
pub mod state;
pub mod types;

pub use builder::Builder;
pub use machine::{FaultCause, Helper, HelperCx, HelperFn, HelperId, MemFault, Memory, Trap};
pub use op::{Arg, AttrKind, Effects, ImmKind, OPS, Op, OpInfo, Res, X87Form, X87Op};
pub use region::{Addr, Block, Const, ExceptionCode, Exit, ExitKind, GuestInsn, Inst, Region, Value};
pub use state::{CpuState, GUEST_OFFSET, Header, Pin, RegDef, RegId, RegTable, SPILL_BYTES};
pub use types::{AtomicOp, Cond, FlagSet, Lane, MemAttr, Type};
