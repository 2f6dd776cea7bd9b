//! The commands of `ioctl` that are known, by what they are for.

use super::forward::Codec;
use super::ioctl::{Command, Family, Geometry, IfreqMap, IoctlArg, Serial, ethtool, interface_list, long_result};
use crate::convert::time::{Timespec, Timeval};

use IoctlArg::{Counted, Encoded, Ifreq, In, LongCoded, Out, Run, Struct, Value};

/// Rows: the host's number, the name, what the argument is; `wait` for commands that may block or stop the process.
macro_rules! commands {
    ($($number:literal $name:ident $arg:expr $(, $wait:ident)?;)*) => {
        &[$(Command {
            name: stringify!($name),
            number: $number,
            arg: $arg,
            wait: commands!(@ $($wait)?),
        },)*]
    };
    (@) => { false };
    (@ wait) => { true };
}

/// Size of `int`.
const INT: u64 = 4;
/// Size of `struct termios` of the kernel: four words, a line discipline, 19 control characters.
const TERMIOS: u64 = 36;
/// Size of `struct termio`.
const TERMIO: u64 = 18;
/// Size of `struct winsize`.
const WINSIZE: u64 = 8;
/// Size of `struct arpreq`.
const ARPREQ: u64 = 68;
/// Size of `struct loop_info64` and of `struct loop_config`.
const LOOP_INFO64: u64 = 232;
const LOOP_CONFIG: u64 = 304;

/// Commands by number.
pub static COMMANDS: &[Command] = commands! {
    // Terminals (asm-generic/ioctls.h)
    0x5401 TCGETS Out(TERMIOS);
    0x5402 TCSETS In(TERMIOS), wait;
    0x5403 TCSETSW In(TERMIOS), wait;
    0x5404 TCSETSF In(TERMIOS), wait;
    0x5405 TCGETA Out(TERMIO);
    0x5406 TCSETA In(TERMIO), wait;
    0x5407 TCSETAW In(TERMIO), wait;
    0x5408 TCSETAF In(TERMIO), wait;
    0x5409 TCSBRK Value, wait;
    0x540a TCXONC Value, wait;
    0x540b TCFLSH Value, wait;
    0x540c TIOCEXCL Value;
    0x540d TIOCNXCL Value;
    0x540e TIOCSCTTY Value;
    0x540f TIOCGPGRP Out(INT);
    0x5410 TIOCSPGRP In(INT), wait;
    0x5411 TIOCOUTQ Out(INT);
    0x5412 TIOCSTI In(1);
    0x5413 TIOCGWINSZ Out(WINSIZE);
    0x5414 TIOCSWINSZ In(WINSIZE), wait;
    0x5415 TIOCMGET Out(INT);
    0x5416 TIOCMBIS In(INT);
    0x5417 TIOCMBIC In(INT);
    0x5418 TIOCMSET In(INT);
    0x5419 TIOCGSOFTCAR Out(INT);
    0x541a TIOCSSOFTCAR In(INT);
    0x541b FIONREAD Out(INT);
    0x541d TIOCCONS Value;
    0x541e TIOCGSERIAL Struct(Codec::of::<Serial>());
    0x541f TIOCSSERIAL Struct(Codec::of::<Serial>());
    0x5420 TIOCPKT In(INT);
    0x5421 FIONBIO In(INT);
    0x5422 TIOCNOTTY Value;
    0x5423 TIOCSETD In(INT), wait;
    0x5424 TIOCGETD Out(INT);
    0x5425 TCSBRKP Value, wait;
    0x5427 TIOCSBRK Value;
    0x5428 TIOCCBRK Value;
    0x5429 TIOCGSID Out(INT);
    0x802c542a TCGETS2 Encoded;
    0x402c542b TCSETS2 Encoded, wait;
    0x402c542c TCSETSW2 Encoded, wait;
    0x402c542d TCSETSF2 Encoded, wait;
    0x542e TIOCGRS485 Out(32);
    0x542f TIOCSRS485 Out(32);
    0x80045430 TIOCGPTN Encoded;
    0x40045431 TIOCSPTLCK Encoded;
    0x80045432 TIOCGDEV Encoded;
    0x40045436 TIOCSIG Value;
    0x5437 TIOCVHANGUP Value;
    0x80045438 TIOCGPKT Encoded;
    0x80045439 TIOCGPTLCK Encoded;
    0x80045440 TIOCGEXCL Encoded;
    0x5441 TIOCGPTPEER Value;
    0x5450 FIONCLEX Value;
    0x5451 FIOCLEX Value;
    0x5452 FIOASYNC In(INT);
    0x5459 TIOCSERGETLSR Out(INT);
    0x545c TIOCMIWAIT Value, wait;
    0x545d TIOCGICOUNT Out(80);
    0x5460 FIOQSIZE Out(8);
    // Consoles (linux/kd.h, linux/vt.h)
    0x4b2f KIOCSOUND Value;
    0x4b30 KDMKTONE Value;
    0x4b31 KDGETLED Out(1);
    0x4b32 KDSETLED Value;
    0x4b33 KDGKBTYPE Out(1);
    0x4b3a KDSETMODE Value;
    0x4b3b KDGETMODE Out(INT);
    0x4b44 KDGKBMODE Out(INT);
    0x4b45 KDSKBMODE Value;
    0x4b46 KDGKBENT Out(4);
    0x4b47 KDSKBENT In(4);
    0x4b62 KDGKBMETA Out(INT);
    0x4b63 KDSKBMETA Value;
    0x4b64 KDGKBLED Out(1);
    0x4b65 KDSKBLED Value;
    0x5600 VT_OPENQRY Out(INT);
    0x5601 VT_GETMODE Out(8);
    0x5602 VT_SETMODE In(8);
    0x5603 VT_GETSTATE Out(6);
    0x5605 VT_RELDISP Value;
    0x5606 VT_ACTIVATE Value;
    0x5607 VT_WAITACTIVE Value, wait;
    0x5608 VT_DISALLOCATE Value;
    // Files (linux/fs.h)
    0x1 FIBMAP Out(INT);
    0x2 FIGETBSZ Out(INT);
    0xc0045877 FIFREEZE Value;
    0xc0045878 FITHAW Value;
    0xc0185879 FITRIM Encoded;
    0x40049409 FICLONE Value;
    0x4020940d FICLONERANGE Encoded;
    0xc0189436 FIDEDUPERANGE Run(dedupe);
    0x80086601 FS_IOC_GETFLAGS LongCoded(INT);
    0x40086602 FS_IOC_SETFLAGS LongCoded(INT);
    0x80087601 FS_IOC_GETVERSION LongCoded(INT);
    0x40087602 FS_IOC_SETVERSION LongCoded(INT);
    0xc020660b FS_IOC_FIEMAP Counted { header: 32, count: 24, element: 56 };
    0x801c581f FS_IOC_FSGETXATTR Encoded;
    0x401c5820 FS_IOC_FSSETXATTR Encoded;
    0x81009431 FS_IOC_GETFSLABEL Encoded;
    0x41009432 FS_IOC_SETFSLABEL Encoded;
    0x80111500 FS_IOC_GETFSUUID Encoded;
    0x80811501 FS_IOC_GETFSSYSFSPATH Encoded;
    // Block devices (linux/fs.h, linux/hdreg.h)
    0x125d BLKROSET In(INT);
    0x125e BLKROGET Out(INT);
    0x125f BLKRRPART Value;
    0x1260 BLKGETSIZE Run(long_result);
    0x1261 BLKFLSBUF Value;
    0x1262 BLKRASET Value;
    0x1263 BLKRAGET Run(long_result);
    0x1264 BLKFRASET Value;
    0x1265 BLKFRAGET Run(long_result);
    0x1267 BLKSECTGET Out(2);
    0x1268 BLKSSZGET Out(INT);
    0x80081270 BLKBSZGET LongCoded(INT);
    0x40081271 BLKBSZSET LongCoded(INT);
    0x80081272 BLKGETSIZE64 LongCoded(8);
    0x1277 BLKDISCARD In(16), wait;
    0x1278 BLKIOMIN Out(INT);
    0x1279 BLKIOOPT Out(INT);
    0x127a BLKALIGNOFF Out(INT);
    0x127b BLKPBSZGET Out(INT);
    0x127c BLKDISCARDZEROES Out(INT);
    0x127d BLKSECDISCARD In(16), wait;
    0x127e BLKROTATIONAL Out(2);
    0x127f BLKZEROOUT In(16), wait;
    0x80081280 BLKGETDISKSEQ Encoded;
    0x0301 HDIO_GETGEO Struct(Codec::of::<Geometry>());
    0x030d HDIO_GET_IDENTITY Out(512);
    // Loop devices (linux/loop.h)
    0x4c00 LOOP_SET_FD Value;
    0x4c01 LOOP_CLR_FD Value;
    0x4c04 LOOP_SET_STATUS64 In(LOOP_INFO64);
    0x4c05 LOOP_GET_STATUS64 Out(LOOP_INFO64);
    0x4c06 LOOP_CHANGE_FD Value;
    0x4c07 LOOP_SET_CAPACITY Value;
    0x4c08 LOOP_SET_DIRECT_IO Value;
    0x4c09 LOOP_SET_BLOCK_SIZE Value;
    0x4c0a LOOP_CONFIGURE In(LOOP_CONFIG);
    0x4c80 LOOP_CTL_ADD Value;
    0x4c81 LOOP_CTL_REMOVE Value;
    0x4c82 LOOP_CTL_GET_FREE Value;
    // Compact discs (linux/cdrom.h)
    0x5305 CDROMREADTOCHDR Out(2);
    0x5306 CDROMREADTOCENTRY Out(12);
    0x5309 CDROMEJECT Value, wait;
    0x5319 CDROMCLOSETRAY Value, wait;
    0x5320 CDROM_SET_OPTIONS Value;
    0x5325 CDROM_MEDIA_CHANGED Value;
    0x5326 CDROM_DRIVE_STATUS Value;
    0x5327 CDROM_DISC_STATUS Value;
    0x5329 CDROM_LOCKDOOR Value;
    0x5331 CDROM_GET_CAPABILITY Value;
    // Random numbers (linux/random.h)
    0x80045200 RNDGETENTCNT Encoded;
    0x40045201 RNDADDTOENTCNT Encoded;
    0x40085203 RNDADDENTROPY Run(add_entropy);
    0x5204 RNDZAPENTCNT Value;
    0x5206 RNDCLEARPOOL Value;
    0x5207 RNDRESEEDCRNG Value;
    // Sockets (linux/sockios.h)
    0x8901 FIOSETOWN In(INT);
    0x8902 SIOCSPGRP In(INT);
    0x8903 FIOGETOWN Out(INT);
    0x8904 SIOCGPGRP Out(INT);
    0x8905 SIOCATMARK Out(INT);
    0x8906 SIOCGSTAMP_OLD Struct(Codec::of::<Timeval>());
    0x8907 SIOCGSTAMPNS_OLD Struct(Codec::of::<Timespec>());
    0x80108906 SIOCGSTAMP_NEW Encoded;
    0x80108907 SIOCGSTAMPNS_NEW Encoded;
    0x8910 SIOCGIFNAME Ifreq;
    0x8911 SIOCSIFLINK Value;
    0x8912 SIOCGIFCONF Run(interface_list);
    0x8913 SIOCGIFFLAGS Ifreq;
    0x8914 SIOCSIFFLAGS Ifreq;
    0x8915 SIOCGIFADDR Ifreq;
    0x8916 SIOCSIFADDR Ifreq;
    0x8917 SIOCGIFDSTADDR Ifreq;
    0x8918 SIOCSIFDSTADDR Ifreq;
    0x8919 SIOCGIFBRDADDR Ifreq;
    0x891a SIOCSIFBRDADDR Ifreq;
    0x891b SIOCGIFNETMASK Ifreq;
    0x891c SIOCSIFNETMASK Ifreq;
    0x891d SIOCGIFMETRIC Ifreq;
    0x891e SIOCSIFMETRIC Ifreq;
    0x8921 SIOCGIFMTU Ifreq;
    0x8922 SIOCSIFMTU Ifreq;
    0x8923 SIOCSIFNAME Ifreq;
    0x8924 SIOCSIFHWADDR Ifreq;
    0x8927 SIOCGIFHWADDR Ifreq;
    0x8931 SIOCADDMULTI Ifreq;
    0x8932 SIOCDELMULTI Ifreq;
    0x8933 SIOCGIFINDEX Ifreq;
    0x8934 SIOCSIFPFLAGS Ifreq;
    0x8935 SIOCGIFPFLAGS Ifreq;
    0x8937 SIOCSIFHWBROADCAST Ifreq;
    0x8942 SIOCGIFTXQLEN Ifreq;
    0x8943 SIOCSIFTXQLEN Ifreq;
    0x8946 SIOCETHTOOL Run(ethtool);
    0x8947 SIOCGMIIPHY Ifreq;
    0x8948 SIOCGMIIREG Ifreq;
    0x8949 SIOCSMIIREG Ifreq;
    0x894b SIOCOUTQNSD Out(INT);
    0x894c SIOCGSKNS Value;
    0x8953 SIOCDARP In(ARPREQ);
    0x8954 SIOCGARP Out(ARPREQ);
    0x8955 SIOCSARP In(ARPREQ);
    0x8970 SIOCGIFMAP Struct(Codec::of::<IfreqMap>());
    0x8971 SIOCSIFMAP Struct(Codec::of::<IfreqMap>());
    0x8982 SIOCGIFVLAN Out(56);
    0x8983 SIOCSIFVLAN Out(56);
    0x89a0 SIOCBRADDBR In(16);
    0x89a1 SIOCBRDELBR In(16);
    0x89a2 SIOCBRADDIF Ifreq;
    0x89a3 SIOCBRDELIF Ifreq;
    // Tunnels (linux/if_tun.h)
    0x400454c8 TUNSETNOCSUM Value;
    0x400454c9 TUNSETDEBUG Value;
    0x400454ca TUNSETIFF Ifreq;
    0x400454cb TUNSETPERSIST Value;
    0x400454cc TUNSETOWNER Value;
    0x400454cd TUNSETLINK Value;
    0x400454ce TUNSETGROUP Value;
    0x800454cf TUNGETFEATURES Encoded;
    0x400454d0 TUNSETOFFLOAD Value;
    0x800454d2 TUNGETIFF Ifreq;
    0x800454d3 TUNGETSNDBUF Encoded;
    0x400454d4 TUNSETSNDBUF Encoded;
    0x800454d7 TUNGETVNETHDRSZ Encoded;
    0x400454d8 TUNSETVNETHDRSZ Encoded;
    0x400454d9 TUNSETQUEUE Ifreq;
    // Name spaces (linux/nsfs.h)
    0xb701 NS_GET_USERNS Value;
    0xb702 NS_GET_PARENT Value;
    0xb703 NS_GET_NSTYPE Value;
    0xb704 NS_GET_OWNER_UID Out(INT);
};

/// Drivers whose structures have one layout everywhere.
pub static FAMILIES: &[Family] = &[
    // Queries of linux/input.h; force feedback, from 0x80, has structures with pointers.
    Family { name: "input", kind: b'E', numbers: 0x00..=0x7f },
    Family { name: "watchdog", kind: b'W', numbers: 0x00..=0x0f },
    // linux/rtc.h, without the commands that take or give a `long`.
    Family { name: "rtc", kind: b'p', numbers: 0x01..=0x0a },
    Family { name: "rtc", kind: b'p', numbers: 0x0f..=0x14 },
    // linux/uhid.h and linux/hidraw.h.
    Family { name: "hidraw", kind: b'H', numbers: 0x01..=0x0f },
];

/// `RNDADDENTROPY`: the size of the pool follows two integers, of which it is the second.
fn add_entropy(cx: &mut crate::task::Cx, fd: u64, number: u64, arg: u64) -> crate::table::SysResult {
    let [_, size] = cx.read::<[u32; 2]>(arg)?;
    let arg = cx.host_ptr(arg, 8 + u64::from(size), crate::memory::Access::Read)?;
    crate::kernel::call(libc::SYS_ioctl, [fd, number, arg])
}

/// `FIDEDUPERANGE`: a header with a 16-bit count, and that many targets.
fn dedupe(cx: &mut crate::task::Cx, fd: u64, number: u64, arg: u64) -> crate::table::SysResult {
    let count: u16 = cx.read(arg.wrapping_add(16))?;
    let arg = cx.host_ptr(arg, 24 + 32 * u64::from(count), crate::memory::Access::Write)?;
    crate::kernel::call(libc::SYS_ioctl, [fd, number, arg])
}
