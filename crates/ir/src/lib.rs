//! The intermediate representation that every guest is lifted to and every back end compiles.
//!
//! One op table ([`op`]) lists what can be said; [`region`] is the shape of what is said; [`builder`] says it;
//! [`state`] is where guest registers live when no code runs; [`machine`] is what running code needs around it.
//! [`text`] is the text form; [`verify`] checks regions against the op table and the [`rules`] that it leaves open.

pub mod builder;
pub mod machine;
pub mod op;
pub mod region;
pub mod rules;
pub mod state;
pub mod testing;
pub mod text;
pub mod types;
pub mod verify;

pub use builder::Builder;
pub use machine::{
    CONTROLLER_PRIORITY, FaultCause, FloatUnit, Flush, Helper, HelperCx, HelperFn, HelperId, MemFault, Memory,
    StringOp, System, Trap,
};
pub use op::{Arg, AttrKind, Effects, ImmKind, OPS, Op, OpInfo, Res, X87Form, X87Op};
pub use region::{Addr, Block, Const, ExceptionCode, Exit, ExitKind, GuestInsn, Inst, Region, Value};
pub use state::{CpuState, Family, GUEST_BYTES, GUEST_OFFSET, Header, Pin, RegDef, RegId, RegTable, SPILL_BYTES};
pub use types::{AtomicOp, Cond, FlagSet, FpMode, FpRule, Lane, MemAttr, Rounding, Type};
