//! Error numbers by name, including the kernel-internal ones that ask for a system call to be made again.

pub use isamorph_host::Errno;

macro_rules! errnos {
    ($($name:ident)*) => {$(
        #[doc = concat!("`", stringify!($name), "`.")]
        pub const $name: Errno = Errno(libc::$name);
    )*};
}

errnos! {
    E2BIG EACCES EADDRINUSE EAFNOSUPPORT EAGAIN EBADF EBUSY ECHILD EEXIST EFAULT EFBIG EINTR EINVAL EIO EISDIR ELOOP
    EMFILE EMSGSIZE ENAMETOOLONG ENOBUFS ENODATA ENODEV ENOENT ENOEXEC ENOMEM ENOSPC ENOSYS ENOTDIR ENOTEMPTY ENOTSOCK
    ENOTTY ENXIO EOPNOTSUPP EOVERFLOW EPERM EPIPE EPROTONOSUPPORT ERANGE EROFS ESPIPE ESRCH ETIMEDOUT EXDEV
}

/// Interrupted before anything was done: made again if the handler was installed with `SA_RESTART`, else `EINTR`.
pub const ERESTARTSYS: Errno = Errno(512);
/// Interrupted before anything was done: always made again.
pub const ERESTARTNOINTR: Errno = Errno(513);
/// Interrupted: made again only if no handler runs, else `EINTR`.
pub const ERESTARTNOHAND: Errno = Errno(514);
/// `sigreturn` has set all registers; the result register is not written.
pub const NO_RESULT: Errno = Errno(516);

/// Whether the error only exists between a system call and the delivery of signals.
pub fn is_internal(e: Errno) -> bool {
    matches!(e, ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | NO_RESULT)
}
