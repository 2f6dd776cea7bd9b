//! System calls that the host can make for the guest once their arguments are converted: a row of argument kinds per
//! call instead of code.
//!
//! ```text
//! forward! {
//!     /// `pread64(2)`.
//!     fn pread64 = wait SYS_pread64(Val, Out(2), Val, Val);
//! }
//! ```
//!
//! defines a handler. `wait` is for calls that may block and must notice signals, `call` for the others. The kinds are
//! variants of [`Pass`]; each takes one canonical argument of the guest, except [`Pass::Fixed`], which takes none.

use crate::convert::{Buffer, Record};
use crate::errno::{EFAULT, Errno};
use crate::kernel::call;
use crate::memory::Access;
use crate::table::SysResult;
use crate::task::Cx;
use std::ffi::CString;

/// How an argument reaches the host.
#[derive(Clone, Copy)]
pub enum Pass {
    /// As it is.
    Val,
    /// A value that the guest's call does not have.
    Fixed(u64),
    /// The guest's argument is dropped.
    Skip,
    /// A path that is looked up: redirected to the sysroot. A null pointer stays one.
    Path,
    /// A string, or a path that is changed: what is below the sysroot is not for the guest to change.
    Str,
    /// Memory that the kernel reads; its size is the guest's argument of that number.
    In(usize),
    /// Memory that the kernel writes; its size is the guest's argument of that number.
    Out(usize),
    /// Memory of that size that the kernel reads.
    InBytes(u64),
    /// Memory of that size that the kernel writes, and perhaps reads before.
    OutBytes(u64),
    /// Memory that the kernel writes; its size is in the 32-bit integer to which the guest's argument of that number
    /// points, and which the kernel updates.
    OutSized(usize),
    /// An array of buffers; the number of them is the guest's argument of that number.
    Iovec(usize, Access),
    /// A structure that the kernel reads.
    Get(Codec),
    /// A structure that the kernel writes.
    Put(Codec),
    /// A structure that the kernel reads and writes.
    Update(Codec),
    /// Flags of `open`.
    OpenFlags,
    /// A 16-bit user or group id.
    Id16,
}

/// Conversion of one structure between guest memory and a host buffer.
#[derive(Clone, Copy)]
pub struct Codec {
    load: fn(&Cx, u64) -> Result<Buffer, Errno>,
    store: fn(&Cx, u64, &Buffer) -> Result<(), Errno>,
}

impl Codec {
    /// The conversion of a structure.
    pub const fn of<T: Record>() -> Self {
        Codec {
            load: |cx, addr| Ok(Buffer::host(&cx.read::<T>(addr)?)),
            store: |cx, addr, buffer| cx.write(addr, &buffer.read::<T>()),
        }
    }
    /// The guest's structure in the host's layout.
    ///
    /// # Errors
    /// A bad address.
    pub fn load(self, cx: &Cx, addr: u64) -> Result<Buffer, Errno> {
        (self.load)(cx, addr)
    }
    /// Stores the host's structure in the guest's layout.
    ///
    /// # Errors
    /// A bad address.
    pub fn store(self, cx: &Cx, addr: u64, host: &Buffer) -> Result<(), Errno> {
        (self.store)(cx, addr, host)
    }
}

/// A call that is forwarded.
#[derive(Clone, Copy)]
pub struct Forward {
    /// The host's number.
    pub nr: libc::c_long,
    /// Its arguments.
    pub pass: &'static [Pass],
    /// Whether it may block.
    pub wait: bool,
}

/// What has to live during the call.
enum Held {
    Nothing,
    Text(CString),
    Vector(Vec<libc::iovec>),
    Structure(Buffer),
    Written(Buffer, u64, Codec),
}

impl Held {
    fn addr(&mut self) -> u64 {
        match self {
            Held::Nothing => 0,
            Held::Text(text) => text.as_ptr() as u64,
            Held::Vector(list) => list.as_ptr() as u64,
            Held::Structure(buffer) | Held::Written(buffer, ..) => buffer.addr(),
        }
    }
}

impl Forward {
    /// Makes the call with the guest's canonical arguments.
    ///
    /// # Errors
    /// Bad pointers, and what the kernel returns.
    pub fn run(&self, cx: &mut Cx, args: [u64; 6]) -> SysResult {
        /// Times that a call is made again because code was translated in its buffer meanwhile.
        const RETRIES: usize = 3;
        let mut result = self.attempt(cx, args);
        for _ in 0..RETRIES {
            if result != Err(EFAULT) || !self.was_protected(cx, args) {
                break;
            }
            result = self.attempt(cx, args);
        }
        result
    }

    fn attempt(&self, cx: &mut Cx, args: [u64; 6]) -> SysResult {
        let mut held = [const { Held::Nothing }; 6];
        let mut host = [0; 6];
        let mut guest = args.iter();
        let mut slots = host.iter_mut().zip(&mut held);
        for pass in self.pass {
            let value = if let Pass::Fixed(value) = pass { *value } else { guest.next().copied().unwrap_or(0) };
            if matches!(pass, Pass::Skip) {
                continue;
            }
            let Some((slot, held)) = slots.next() else { break };
            *slot = convert(cx, *pass, value, &args, held)?;
        }
        let result = if self.wait { cx.blocking_call(self.nr, host)? } else { call(self.nr, host)? };
        for one in &held {
            if let Held::Written(buffer, addr, codec) = one {
                codec.store(cx, *addr, buffer)?;
            }
        }
        Ok(result)
    }

    /// Whether a call failed although its buffers can be written: another thread translated code in them after they
    /// had been prepared, and so had the host protect them.
    fn was_protected(&self, cx: &Cx, args: [u64; 6]) -> bool {
        let taken = self.pass.iter().filter(|p| !matches!(p, Pass::Fixed(_)));
        let mut buffers = taken.zip(args).filter_map(|(pass, addr)| match pass {
            Pass::Out(n) => Some((addr, args[*n])),
            Pass::OutBytes(len) => Some((addr, *len)),
            _ => None,
        });
        let writable = |(addr, len): (u64, u64)| addr != 0 && cx.space().check(addr, len, true).is_ok();
        buffers.next().is_some_and(writable) && buffers.all(writable)
    }
}

/// The host's form of one argument. What it points to is put in `held`.
fn convert(cx: &mut Cx, pass: Pass, value: u64, args: &[u64; 6], held: &mut Held) -> SysResult {
    let plain = match pass {
        Pass::Val | Pass::Fixed(_) | Pass::Skip => value,
        Pass::OpenFlags => u64::from(cx.abi().layouts().open.to_host(value as u32)),
        Pass::Id16 => crate::convert::stat::widen_id(value),
        // Every other kind is a pointer, and the kernel decides what a null pointer means.
        _ if value == 0 => 0,
        Pass::In(n) => cx.host_buffer(value, args[n], Access::Read)?,
        Pass::Out(n) => cx.host_buffer(value, args[n], Access::Write)?,
        Pass::InBytes(len) => cx.host_ptr(value, len, Access::Read)?,
        Pass::OutBytes(len) => cx.host_ptr(value, len, Access::Write)?,
        Pass::OutSized(n) => {
            let len = if args[n] == 0 { 0 } else { cx.read::<u32>(args[n])? };
            cx.host_buffer(value, len.into(), Access::Write)?
        }
        Pass::Path => return Ok(hold(held, Held::Text(cx.path(value)?))),
        Pass::Str => return Ok(hold(held, Held::Text(cx.cstr(value)?))),
        Pass::Iovec(n, access) => return Ok(hold(held, Held::Vector(cx.iovec(value, args[n], access)?))),
        Pass::Get(codec) => return Ok(hold(held, Held::Structure(codec.load(cx, value)?))),
        Pass::Put(codec) => return Ok(hold(held, Held::Written(Buffer::default(), value, codec))),
        Pass::Update(codec) => return Ok(hold(held, Held::Written(codec.load(cx, value)?, value, codec))),
    };
    Ok(plain)
}

fn hold(slot: &mut Held, value: Held) -> u64 {
    *slot = value;
    slot.addr()
}

impl Cx {
    /// A pointer to a guest buffer for the host kernel. Programs pass lengths beyond the end of their buffer's mapping,
    /// or bad pointers, when they know that less will be transferred; so the kernel is left to find bad memory, which
    /// is as inaccessible to it as to the guest. The buffer never reaches out of the guest's address space.
    ///
    /// # Errors
    /// `EFAULT` when the buffer wraps around or leaves the address space.
    pub fn host_buffer(&self, addr: u64, len: u64, access: Access) -> SysResult {
        let space = self.space();
        let end = addr.checked_add(len).ok_or(EFAULT)?;
        // Below the lowest address there may be something else, unless it is the host's own lowest.
        let below = addr < space.lowest() && space.host_base() != 0;
        if end > space.limit() || below && len != 0 {
            return Err(EFAULT);
        }
        let write = access == Access::Write;
        let good = space.check(addr, len, write).map_or_else(|bad| bad.addr.saturating_sub(addr), |()| len);
        if write && good != 0 {
            space.prepare_write(addr, good).map_err(|_| EFAULT)?;
        }
        Ok(space.host_ptr(addr) as u64)
    }
}

/// Defines handlers of forwarded calls, see the module documentation.
macro_rules! forward {
    ($($(#[$doc:meta])* fn $name:ident = $how:ident $nr:ident ( $($pass:expr),* );)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Bad pointers, and what the kernel returns.
        pub fn $name(cx: &mut $crate::task::Cx, args: [u64; 6]) -> $crate::table::SysResult {
            #[allow(unused_imports, reason = "not every row needs them")]
            use $crate::sys::forward::{Codec, Forward, Pass::*};
            const ROW: Forward = Forward {
                nr: libc::$nr,
                pass: &[$($pass),*],
                wait: $crate::sys::forward::forward!(@ $how),
            };
            ROW.run(cx, args)
        }
    )*};
    (@ wait) => { true };
    (@ call) => { false };
}
pub(crate) use forward;
