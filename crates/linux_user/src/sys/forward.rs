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
use crate::memory::{Access, IOV_MAX};
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
    /// A path that is looked up, without following a link at its end if the guest's argument of that number, flags of
    /// the `…at` calls, says so.
    PathAt(usize),
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
    Copied(Copied),
}

impl Held {
    fn addr(&mut self) -> u64 {
        match self {
            Held::Nothing => 0,
            Held::Text(text) => text.as_ptr() as u64,
            Held::Vector(list) => list.as_ptr() as u64,
            Held::Structure(buffer) | Held::Written(buffer, ..) => buffer.addr(),
            Held::Copied(copied) => copied.now.as_mut_ptr() as u64,
        }
    }
    /// Brings back what the kernel wrote.
    fn store(&self, cx: &Cx) -> Result<(), Errno> {
        match self {
            Held::Written(buffer, addr, codec) => codec.store(cx, *addr, buffer),
            Held::Copied(copied) => copied.store(cx),
            _ => Ok(()),
        }
    }
}

/// A copy of a buffer among code, for the kernel to write to: other threads may translate code there while the call
/// waits, which would make the kernel lose what it has got.
struct Copied {
    addr: u64,
    before: Vec<u8>,
    now: Vec<u8>,
}

impl Copied {
    /// The copy of a buffer, if it needs one.
    fn of(cx: &Cx, addr: u64, len: u64) -> Option<Self> {
        const MAX: u64 = 1 << 20;
        let space = cx.space();
        let wanted = (1..=MAX).contains(&len) && space.may_hold_code(addr, len) && space.check(addr, len, true).is_ok();
        let before = if wanted { cx.read_vec(addr, len).ok()? } else { return None };
        Some(Copied { addr, now: before.clone(), before })
    }
    /// Stores the bytes from the first to the last that changed.
    fn store(&self, cx: &Cx) -> Result<(), Errno> {
        let differs = |(a, b): (&u8, &u8)| a != b;
        let Some(first) = self.now.iter().zip(&self.before).position(differs) else { return Ok(()) };
        let last = self.now.iter().zip(&self.before).rposition(differs).unwrap_or(first);
        cx.write_bytes(self.addr + first as u64, &self.now[first..=last])
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
        let mut args = args;
        let mut guest = 0;
        let mut slots = host.iter_mut().zip(&mut held);
        for pass in self.pass {
            let value = if let Pass::Fixed(value) = pass { *value } else { args.get(guest).copied().unwrap_or(0) };
            if !matches!(pass, Pass::Fixed(_)) {
                guest += 1;
            }
            if matches!(pass, Pass::Skip) {
                continue;
            }
            let Some((slot, held)) = slots.next() else { break };
            shorten(cx, *pass, value, &mut args);
            *slot = convert(cx, *pass, value, &args, held)?;
        }
        let result = if self.wait { cx.blocking_call(self.nr, host)? } else { call(self.nr, host)? };
        for one in &held {
            one.store(cx)?;
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

/// An address that no call can use. It stands for bad pointers of the guest, so that the kernel finds them when it
/// comes to them, after other mistakes that it looks for first.
pub const BAD_POINTER: u64 = 0xffff_ffff_ffff_f000;

/// Leaves a bad pointer to the kernel.
fn lazily(pointer: SysResult) -> SysResult {
    if pointer == Err(EFAULT) { Ok(BAD_POINTER) } else { pointer }
}

/// Shortens the length of a buffer to what the kernel would transfer.
fn shorten(cx: &Cx, pass: Pass, addr: u64, args: &mut [u64; 6]) {
    let (n, access) = match pass {
        Pass::In(n) => (n, Access::Read),
        Pass::Out(n) => (n, Access::Write),
        _ => return,
    };
    args[n] = cx.transferable(addr, args[n], access);
}

/// The host's form of one argument. What it points to is put in `held`.
fn convert(cx: &mut Cx, pass: Pass, value: u64, args: &[u64; 6], held: &mut Held) -> SysResult {
    match pass {
        Pass::Val | Pass::Fixed(_) | Pass::Skip => Ok(value),
        Pass::OpenFlags => Ok(cx.abi().layouts().open.to_host(value as u32).into()),
        Pass::Id16 => Ok(crate::convert::stat::widen_id(value)),
        // Every other kind is a pointer, and the kernel decides what a null pointer means.
        _ if value == 0 => Ok(0),
        _ => lazily(convert_pointer(cx, pass, value, args, held)),
    }
}

fn convert_pointer(cx: &mut Cx, pass: Pass, value: u64, args: &[u64; 6], held: &mut Held) -> SysResult {
    let kept = match pass {
        Pass::In(n) => return cx.host_buffer(value, args[n], Access::Read),
        Pass::Out(n) => return output(cx, value, args[n], held),
        Pass::InBytes(len) => return cx.host_buffer(value, len, Access::Read),
        Pass::OutBytes(len) => return output(cx, value, len, held),
        Pass::OutSized(n) => {
            let len = if args[n] == 0 { 0 } else { cx.read::<u32>(args[n])? };
            return output(cx, value, len.into(), held);
        }
        Pass::Path => Held::Text(cx.path(value)?),
        Pass::PathAt(n) if args[n] & libc::AT_SYMLINK_NOFOLLOW as u64 != 0 => Held::Text(cx.path_nofollow(value)?),
        Pass::PathAt(_) => Held::Text(cx.path(value)?),
        Pass::Str => Held::Text(cx.cstr(value)?),
        // The kernel refuses the count before it looks at the array.
        Pass::Iovec(n, _) if args[n] > IOV_MAX => return Ok(BAD_POINTER),
        Pass::Iovec(n, access) => Held::Vector(cx.iovec(value, args[n], access)?),
        Pass::Get(codec) => Held::Structure(codec.load(cx, value)?),
        Pass::Put(codec) => Held::Written(Buffer::default(), value, codec),
        Pass::Update(codec) => Held::Written(codec.load(cx, value)?, value, codec),
        Pass::Val | Pass::Fixed(_) | Pass::Skip | Pass::OpenFlags | Pass::Id16 => Held::Nothing,
    };
    Ok(hold(held, kept))
}

/// A buffer that the kernel writes.
fn output(cx: &Cx, addr: u64, len: u64, held: &mut Held) -> SysResult {
    match Copied::of(cx, addr, len) {
        Some(copied) => Ok(hold(held, Held::Copied(copied))),
        None => cx.host_buffer(addr, len, Access::Write),
    }
}

fn hold(slot: &mut Held, value: Held) -> u64 {
    *slot = value;
    slot.addr()
}

/// A host address that is bad and not null.
const NOWHERE: u64 = 16;

impl Cx {
    /// How many of `len` bytes the guest can access, from the first one on.
    fn accessible(&self, addr: u64, len: u64, access: Access) -> u64 {
        let checked = self.space().check(addr, len, access == Access::Write);
        checked.map_or_else(|bad| bad.addr.saturating_sub(addr), |()| len)
    }
    /// How many bytes of a buffer the kernel would transfer before it found bad memory. In an address space that is
    /// shared with the emulator, what follows the guest's memory may not be bad; everywhere else, and if the buffer
    /// starts with bad memory, this is all of it and the kernel is left to find out.
    pub fn transferable(&self, addr: u64, len: u64, access: Access) -> u64 {
        if !self.space().shares_host() {
            return len;
        }
        match self.accessible(addr, len, access) {
            0 => len,
            good => good,
        }
    }
    /// A pointer to a guest buffer for the host kernel. Programs pass lengths beyond the end of their buffer's mapping,
    /// even of the address space, or bad pointers, when they know that less will be transferred; so the kernel is left
    /// to find bad memory. It is as inaccessible to it as to the guest, and so is what follows the address space; the
    /// kernel goes through a buffer from its start.
    ///
    /// # Errors
    /// `EFAULT` when the buffer starts outside of the address space.
    pub fn host_buffer(&self, addr: u64, len: u64, access: Access) -> SysResult {
        let space = self.space();
        // Below the lowest address there may be something else, unless it is the host's own lowest.
        let below = addr < space.lowest() && space.host_base() != 0;
        if addr > space.limit() || below && len != 0 {
            return Err(EFAULT);
        }
        let len = len.min(space.limit() - addr);
        let write = access == Access::Write;
        let good = self.accessible(addr, len, access);
        if space.shares_host() && good == 0 && len != 0 && addr >= space.lowest() {
            // What is not the guest's may be the host's. Nothing is ever mapped at the lowest addresses.
            return Ok(NOWHERE);
        }
        // What follows the guest's memory in a shared address space may be the emulator's.
        if good != len && space.shares_host() {
            return Err(EFAULT);
        }
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

#[cfg(test)]
mod tests {
    use crate::testing::TestGuest;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    #[test]
    fn a_waiting_call_does_not_lose_what_it_gets_for_a_page_of_code() {
        let mut g = TestGuest::new();
        let at = g.room(8192) & !4095;
        let space = g.cx.process.space.clone();
        space.protect(at, 4096, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).unwrap();
        g.cx.write_bytes(at, b"....../").unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let translator = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            space.protect_code(at).unwrap();
            writer.write_all(b"code").unwrap();
        });
        assert_eq!(g.call("read", &[reader.as_raw_fd() as u64, at + 1, 100]), Ok(4));
        translator.join().unwrap();
        assert_eq!(g.bytes(at, 7), b".code./");
        assert!(!g.cx.space().is_code(at));
    }
}
