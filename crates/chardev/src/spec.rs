//! The texts of `-chardev`, `-serial` and their like, as back ends to open. Nothing here touches the host.

use std::fmt;
use std::path::PathBuf;

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In the file system.
    Unix(PathBuf),
    /// Host, which may be empty, and port.
    Tcp(String, u16),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
        }
    }
}

/// What a back end is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Null,
    /// Standard input and output.
    Stdio {
        /// Ctrl-C and its like send signals.
        signal: bool,
    },
    /// A file for the output.
    File {
        /// Its path.
        path: PathBuf,
        /// Keeps what is in it.
        append: bool,
        /// A file for the input.
        input: Option<PathBuf>,
    },
    /// Named pipes `path.in` and `path.out`, or one file for both.
    Pipe {
        /// The path.
        path: PathBuf,
    },
    /// A pseudo-terminal.
    Pty {
        /// A link to make to it.
        link: Option<PathBuf>,
    },
    /// The last bytes in memory.
    Ringbuf {
        /// How many.
        size: usize,
    },
    /// A socket.
    Socket {
        /// Where.
        address: Address,
        /// It waits for connections.
        server: bool,
        /// And lets the machine wait for the first one.
        wait: bool,
        /// A client tries again after that many milliseconds; 0 for never.
        reconnect: u64,
    },
}

/// A back end to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What it is.
    pub kind: Kind,
    /// Several front ends share it.
    pub mux: bool,
    /// A copy of the output goes to that file.
    pub log: Option<PathBuf>,
    /// The file keeps what is in it.
    pub log_append: bool,
}

impl Spec {
    /// A back end of that kind, with the usual settings.
    pub fn new(kind: Kind) -> Self {
        Spec { kind, mux: false, log: None, log_append: false }
    }
}

/// What the text of a `-serial`, `-parallel` or `-monitor` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// No device at all.
    None,
    /// The back end of that name.
    Named(String),
    /// A new back end. The monitor is on it too if `monitor`.
    New {
        /// The back end.
        spec: Spec,
        /// It was `mon:`.
        monitor: bool,
    },
}

/// Back ends that are known and missing here.
const MISSING: &[&str] = &[
    "braille",
    "console",
    "dbus",
    "hub",
    "memory",
    "msmouse",
    "parallel",
    "parport",
    "qemu-vdagent",
    "serial",
    "spiceport",
    "spicevmc",
    "testdev",
    "tty",
    "udp",
    "vc",
    "wctablet",
];

/// Splits at commas; two of them are one that belongs to the text.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == ',' && letters.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
    }
    parts
}

/// Settings of a back end, from which each one that is known is taken.
struct Settings {
    rest: Vec<(String, String)>,
}

impl Settings {
    fn new(parts: &[String]) -> Self {
        let pair = |part: &String| match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            // `wait` is `wait=on`, and `nowait` is `wait=off`.
            None => match part.strip_prefix("no") {
                Some(key) if matches!(key, "wait" | "delay" | "server") => (key.to_owned(), "off".to_owned()),
                _ => (part.clone(), "on".to_owned()),
            },
        };
        Settings { rest: parts.iter().filter(|part| !part.is_empty()).map(pair).collect() }
    }
    /// The last one wins.
    fn take(&mut self, key: &str) -> Option<String> {
        let mut found = None;
        self.rest.retain(|(name, value)| {
            if name == key {
                found = Some(value.clone());
            }
            name != key
        });
        found
    }
    fn flag(&mut self, key: &str, default: bool) -> Result<bool, String> {
        match self.take(key).as_deref() {
            None => Ok(default),
            Some("on" | "yes" | "true" | "y") => Ok(true),
            Some("off" | "no" | "false" | "n") => Ok(false),
            Some(other) => Err(format!("Parameter '{key}' expects 'on' or 'off', not '{other}'")),
        }
    }
    fn number(&mut self, key: &str, default: u64) -> Result<u64, String> {
        self.take(key)
            .map_or(Ok(default), |text| parse_size(&text).ok_or(format!("Parameter '{key}' expects a number")))
    }
    fn path(&mut self, kind: &str) -> Result<PathBuf, String> {
        self.take("path").map(PathBuf::from).ok_or(format!("chardev: {kind}: no filename given"))
    }
    /// Fails if something is left.
    fn finish(self) -> Result<(), String> {
        match self.rest.first() {
            Some((key, _)) => Err(format!("Invalid parameter '{key}'")),
            None => Ok(()),
        }
    }
}

/// A number with a suffix that multiplies it.
fn parse_size(text: &str) -> Option<u64> {
    let shift = match text.chars().last()? {
        'k' | 'K' => 10,
        'M' => 20,
        'G' => 30,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A port number; service names are not looked up.
fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("'{text}' is no port number"))
}

fn socket(settings: &mut Settings, address: Address) -> Result<Kind, String> {
    for missing in ["telnet", "websocket", "tn3270"] {
        if settings.flag(missing, false)? {
            return Err(format!("chardev: socket: {missing}: not supported"));
        }
    }
    for missing in ["tls-creds", "tls-authz", "to", "fd", "abstract", "tight"] {
        if settings.take(missing).is_some_and(|value| value != "off") {
            return Err(format!("chardev: socket: {missing}: not supported"));
        }
    }
    // Whether there is a delay is for the host to say; both families are always tried.
    for accepted in ["delay", "nodelay", "ipv4", "ipv6"] {
        settings.take(accepted);
    }
    let server = settings.flag("server", false)?;
    let wait = settings.flag("wait", server)?;
    let seconds = settings.number("reconnect", 0)?;
    let reconnect = settings.number("reconnect-ms", seconds.saturating_mul(1000))?;
    if wait && !server {
        return Err("'wait' option is incompatible with socket in client connect mode".to_owned());
    }
    if reconnect != 0 && server {
        return Err("'reconnect' option is incompatible with socket in server listen mode".to_owned());
    }
    Ok(Kind::Socket { address, server, wait, reconnect })
}

fn kind(name: &str, settings: &mut Settings) -> Result<Kind, String> {
    Ok(match name {
        "null" => Kind::Null,
        "stdio" => Kind::Stdio { signal: settings.flag("signal", true)? },
        "file" => Kind::File {
            path: settings.path("file")?,
            append: settings.flag("append", false)?,
            input: settings.take("input-path").map(PathBuf::from),
        },
        "pipe" | "fifo" => Kind::Pipe { path: settings.path("pipe")? },
        "pty" => Kind::Pty { link: settings.take("path").map(PathBuf::from) },
        "ringbuf" => {
            let size = settings.number("size", 65536)?;
            if !size.is_power_of_two() || size > 1 << 30 {
                return Err("size of ringbuf chardev must be power of two".to_owned());
            }
            Kind::Ringbuf { size: size as usize }
        }
        "socket" => {
            let address = match (settings.take("path"), settings.take("host"), settings.take("port")) {
                (Some(path), _, _) => Address::Unix(path.into()),
                (None, host, Some(number)) => Address::Tcp(host.unwrap_or_default(), port(&number)?),
                _ => return Err("chardev: socket: no address given: 'path' or 'port' is missing".to_owned()),
            };
            socket(settings, address)?
        }
        known if MISSING.contains(&known) => return Err(format!("chardev: {known}: not supported")),
        other => return Err(format!("'{other}' is not a valid char driver name")),
    })
}

/// The settings that all kinds have.
fn finish(kind: Kind, mut settings: Settings) -> Result<Spec, String> {
    let spec = Spec {
        kind,
        mux: settings.flag("mux", false)?,
        log: settings.take("logfile").map(PathBuf::from),
        log_append: settings.flag("logappend", false)?,
    };
    settings.finish()?;
    Ok(spec)
}

/// The text of a `-chardev`: `backend,id=ID,…`. Gives the name too.
///
/// # Errors
/// What is wrong, as text.
pub fn options(text: &str) -> Result<(String, Spec), String> {
    let parts = split(text);
    let mut settings = Settings::new(&parts[1..]);
    let id = settings.take("id").ok_or("chardev: no id specified")?;
    let name = parts[0].strip_prefix("backend=").unwrap_or(&parts[0]);
    let kind = kind(name, &mut settings)?;
    Ok((id, finish(kind, settings)?))
}

/// The text of a `-serial`, `-parallel` or `-monitor`.
///
/// # Errors
/// What is wrong, as text.
pub fn legacy(text: &str) -> Result<Target, String> {
    if text == "none" {
        return Ok(Target::None);
    }
    if let Some(name) = text.strip_prefix("chardev:") {
        return Ok(Target::Named(name.to_owned()));
    }
    let (text, monitor) = text.strip_prefix("mon:").map_or((text, false), |rest| (rest, true));
    let mut spec = bare(text)?;
    if monitor {
        spec.mux = true;
        if let Kind::Stdio { signal } = &mut spec.kind {
            *signal = false;
        }
    }
    Ok(Target::New { spec, monitor })
}

fn bare(text: &str) -> Result<Spec, String> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    match name {
        "file" => Ok(Spec::new(Kind::File { path: rest.into(), append: false, input: None })),
        "pipe" => Ok(Spec::new(Kind::Pipe { path: rest.into() })),
        "unix" | "tcp" => {
            let parts = split(rest);
            let address = match name {
                "unix" => Address::Unix(parts[0].clone().into()),
                _ => {
                    let (host, number) = parts[0].rsplit_once(':').ok_or(format!("'{rest}': host:port expected"))?;
                    Address::Tcp(host.to_owned(), port(number)?)
                }
            };
            let mut settings = Settings::new(&parts[1..]);
            let kind = socket(&mut settings, address)?;
            finish(kind, settings)
        }
        "telnet" | "websocket" | "con" | "fdset" => Err(format!("chardev: {name}: not supported")),
        device if device.starts_with("/dev/") => Err(format!("chardev: {device}: not supported")),
        _ if rest.is_empty() || matches!(name, "vc" | "udp") => {
            let parts = split(name);
            let mut settings = Settings::new(&parts[1..]);
            let kind = kind(&parts[0], &mut settings)?;
            finish(kind, settings)
        }
        _ => Err(format!("'{text}' is not a valid char driver")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(text: &str) -> Spec {
        match legacy(text) {
            Ok(Target::New { spec, monitor: false }) => spec,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn texts_of_serial() {
        assert_eq!(legacy("none"), Ok(Target::None));
        assert_eq!(legacy("chardev:x0"), Ok(Target::Named("x0".to_owned())));
        assert_eq!(new("stdio").kind, Kind::Stdio { signal: true });
        let spec = Spec { mux: true, ..Spec::new(Kind::Stdio { signal: false }) };
        assert_eq!(legacy("mon:stdio"), Ok(Target::New { spec, monitor: true }));
        assert_eq!(new("file:/a,b:c").kind, Kind::File { path: "/a,b:c".into(), append: false, input: None });
        assert_eq!(new("null").kind, Kind::Null);
        assert_eq!(new("pty").kind, Kind::Pty { link: None });
        let socket = |address, server, wait| Kind::Socket { address, server, wait, reconnect: 0 };
        let unix = Address::Unix("/tmp/s".into());
        assert_eq!(new("unix:/tmp/s,server=on,wait=off").kind, socket(unix.clone(), true, false));
        assert_eq!(new("unix:/tmp/s,server,nowait").kind, socket(unix.clone(), true, false));
        assert_eq!(new("unix:/tmp/s,server").kind, socket(unix, true, true));
        let tcp = Address::Tcp("localhost".to_owned(), 4444);
        assert_eq!(new("tcp:localhost:4444").kind, socket(tcp, false, false));
        assert_eq!(new("tcp::4444,server=on").kind, socket(Address::Tcp(String::new(), 4444), true, true));
    }

    #[test]
    fn texts_of_chardev() {
        let (id, spec) = options("stdio,id=console,signal=off,mux=on").unwrap();
        assert_eq!((id.as_str(), spec.kind, spec.mux), ("console", Kind::Stdio { signal: false }, true));
        let (_, spec) = options("file,id=a,path=/x,,y,append=on,logfile=/l,logappend=on").unwrap();
        assert_eq!(spec.kind, Kind::File { path: "/x,y".into(), append: true, input: None });
        assert_eq!((spec.log, spec.log_append), (Some("/l".into()), true));
        assert_eq!(options("ringbuf,id=r,size=4k").unwrap().1.kind, Kind::Ringbuf { size: 4096 });
        let (_, spec) = options("socket,id=s,host=h,port=1,reconnect=2").unwrap();
        let address = Address::Tcp("h".to_owned(), 1);
        assert_eq!(spec.kind, Kind::Socket { address, server: false, wait: false, reconnect: 2000 });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let errors = [
            (options("stdio").unwrap_err(), "no id"),
            (options("stdio,id=a,sginal=on").unwrap_err(), "sginal"),
            (options("udp,id=a").unwrap_err(), "udp: not supported"),
            (options("nonsense,id=a").unwrap_err(), "nonsense"),
            (options("socket,id=a,port=1,telnet=on").unwrap_err(), "telnet: not supported"),
            (options("ringbuf,id=a,size=3").unwrap_err(), "power of two"),
            (options("file,id=a").unwrap_err(), "no filename"),
            (options("socket,id=a,path=/x,wait=on").unwrap_err(), "wait"),
            (legacy("vc").unwrap_err(), "vc: not supported"),
            (legacy("vc:80Cx24C").unwrap_err(), "vc: not supported"),
            (legacy("/dev/ttyS0").unwrap_err(), "not supported"),
            (legacy("telnet:localhost:1").unwrap_err(), "telnet"),
            (legacy("tcp:nowhere").unwrap_err(), "host:port"),
        ];
        for (error, part) in errors {
            assert!(error.contains(part), "{error}");
        }
    }
}
