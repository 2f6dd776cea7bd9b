#![allow(unsafe_code)] // ioctls that the library lacks or marks as unsafe, a signal handler, shared memory

//! What needs `unsafe`.

use kvm_bindings::{kvm_run, kvm_userspace_memory_region};
use kvm_ioctls::{Error, VcpuFd, VmFd};
use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

/// Gives a memory slot to KVM, or takes it back.
pub fn set_memory(vm: &VmFd, region: kvm_userspace_memory_region) -> Result<(), Error> {
    // SAFETY: the range is memory of a RAM block, which the address space that the slot mirrors keeps alive while the
    // slot exists. What the guest does to it is what any processor of the machine does.
    unsafe { vm.set_user_memory_region(region) }
}

/// `_IOW(KVMIO, 0x86, struct kvm_interrupt)`.
const KVM_INTERRUPT: libc::c_ulong = 0x4004_ae86;

/// Hands an external interrupt to the processor (`KVM_INTERRUPT`), which must be ready for it.
pub fn interrupt(vcpu: &VcpuFd, vector: u8) -> io::Result<()> {
    let argument = kvm_bindings::kvm_interrupt { irq: vector.into() };
    // SAFETY: the argument is the structure that the call reads.
    match unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_INTERRUPT, &raw const argument) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A port exit: accesses of the same port, one after the other.
pub struct PortAccess<'a> {
    /// The port.
    pub port: u64,
    /// Whether the guest reads.
    pub input: bool,
    /// Bytes of one access: 1, 2 or 4.
    pub size: usize,
    /// What is written, or room for what is read.
    pub data: &'a mut [u8],
}

/// The port exit that has just happened; `run_size` is the size of the area that the kernel shares.
pub fn port_access(vcpu: &mut VcpuFd, run_size: usize) -> PortAccess<'_> {
    let run = vcpu.get_kvm_run();
    // SAFETY: the union holds what the exit reason says, and this is called after such an exit; any bits are valid.
    let io = unsafe { run.__bindgen_anon_1.io };
    let size = usize::from(io.size).clamp(1, 4);
    let offset = usize::try_from(io.data_offset).unwrap_or(run_size).min(run_size);
    let len = (size * io.count as usize).min(run_size - offset);
    // SAFETY: inside the shared area, which the kernel leaves alone until the next run; bytes have no invalid values.
    let data = unsafe { std::slice::from_raw_parts_mut(ptr::from_mut(run).cast::<u8>().add(offset), len) };
    PortAccess { port: io.port.into(), input: io.direction == kvm_bindings::KVM_EXIT_IO_IN as u8, size, data }
}

/// Why KVM gave up: `KVM_EXIT_INTERNAL_ERROR`'s number and its first words.
pub fn internal_error(run: &kvm_run) -> (u32, [u64; 2]) {
    // SAFETY: as above.
    let internal = unsafe { run.__bindgen_anon_1.internal };
    (internal.suberror, [internal.data[0], internal.data[1]])
}

thread_local! {
    /// The shared word of the vCPU that this thread runs.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

/// The signal that interrupts a vCPU, as other programs of this kind use it.
const KICK: libc::c_int = libc::SIGUSR1;

/// Runs on the vCPU's thread: whether it has entered the guest or is about to, it comes back at once.
extern "C" fn on_kick(_: libc::c_int) {
    let word = IMMEDIATE_EXIT.get();
    if !word.is_null() {
        // SAFETY: the word lives as long as the vCPU, which takes it back before it goes.
        unsafe { ptr::write_volatile(word, 1) };
    }
}

/// Installs the handler of the signal that interrupts vCPUs.
pub fn install_kick() -> io::Result<()> {
    // SAFETY: the handler only stores a byte; without SA_RESTART the call that it interrupts returns.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_kick as *const () as usize;
        match libc::sigaction(KICK, &raw const action, ptr::null_mut()) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The calling thread as the one that runs a vCPU.
pub struct Kicked {
    thread: libc::pid_t,
}

impl Kicked {
    /// From now on kicks reach `vcpu` on this thread.
    pub fn register(vcpu: &mut VcpuFd) -> Self {
        IMMEDIATE_EXIT.set(&raw mut vcpu.get_kvm_run().immediate_exit);
        // SAFETY: no arguments.
        Kicked { thread: unsafe { libc::gettid() } }
    }
    /// What kicks it, from any thread.
    pub fn kick(&self) -> impl Fn() + Send + Sync + 'static {
        let thread = self.thread;
        move || {
            // SAFETY: plain arguments; a thread that has gone makes it fail.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, KICK) };
        }
    }
}

impl Drop for Kicked {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(ptr::null_mut());
    }
}
