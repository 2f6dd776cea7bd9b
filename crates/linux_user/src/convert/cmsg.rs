//! Control messages of sockets.
//!
//! A control message is a header of a `size_t` and two integers, then data, both padded to the size of a `long`
//! (socket(7), cmsg(3)). Header and padding differ between word sizes; data does where it is made of `long`s.

use super::record::{Long, Model, Record, Ulong, record};

record! {
    /// `struct cmsghdr`.
    CmsgHdr { len: Ulong, level: i32, kind: i32, }
}

/// What the data of a control message is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Payload {
    /// The same bytes on guest and host.
    Same,
    /// File descriptors.
    Rights,
    /// `long`s.
    Longs,
}

/// `SO_TIMESTAMP_OLD`, `SO_TIMESTAMPNS_OLD` and `SO_TIMESTAMPING_OLD` (asm-generic/socket.h), which are the types of
/// the messages too. Those with 64-bit times have the same layout everywhere.
const OLD_TIMESTAMPS: [i32; 3] = [29, 35, 37];

fn payload(level: i32, kind: i32) -> Payload {
    match (level, kind) {
        (libc::SOL_SOCKET, libc::SCM_RIGHTS) => Payload::Rights,
        (libc::SOL_SOCKET, kind) if OLD_TIMESTAMPS.contains(&kind) => Payload::Longs,
        _ => Payload::Same,
    }
}

/// A control message: level, type and data.
type Message<'a> = (i32, i32, &'a [u8]);

/// The messages in a control buffer. An item is `None` if the buffer is malformed there; nothing follows it.
fn messages(model: Model, mut rest: &[u8]) -> impl Iterator<Item = Option<Message<'_>>> {
    let header = CmsgHdr::size(model);
    std::iter::from_fn(move || {
        if rest.len() < header {
            return None;
        }
        let hdr = CmsgHdr::decode(model, rest);
        let len = usize::try_from(hdr.len.0).unwrap_or(usize::MAX);
        let Some(data) = rest.get(header..len) else {
            rest = &[];
            return Some(None);
        };
        rest = rest.get(len.next_multiple_of(model.long)..).unwrap_or(&[]);
        Some(Some((hdr.level, hdr.kind, data)))
    })
}

fn append(model: Model, (level, kind, data): Message<'_>, out: &mut Vec<u8>) {
    let start = out.len().next_multiple_of(model.long);
    let header = CmsgHdr::size(model);
    out.resize(start + header, 0);
    CmsgHdr { len: Ulong((header + data.len()) as u64), level, kind }.encode(model, &mut out[start..]);
    out.extend_from_slice(data);
}

/// `long`s in the layout of another model.
fn convert_longs(from: Model, to: Model, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; data.len() / from.long * to.long];
    for (src, dst) in data.chunks_exact(from.long).zip(out.chunks_exact_mut(to.long)) {
        Long::decode(from, src).encode(to, dst);
    }
    out
}

/// The guest's control buffer in the host's layout; `None` if it is malformed.
pub fn to_host(model: Model, guest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for message in messages(model, guest) {
        let (level, kind, data) = message?;
        match payload(level, kind) {
            Payload::Longs => append(Model::HOST, (level, kind, &convert_longs(model, Model::HOST, data)), &mut out),
            Payload::Same | Payload::Rights => append(Model::HOST, (level, kind, data), &mut out),
        }
    }
    out.resize(out.len().next_multiple_of(Model::HOST.long), 0);
    Some(out)
}

/// Room that the host's form of a guest's control buffer of that size may need.
pub fn host_room(room: usize) -> usize {
    // The smallest message, a header alone, grows the most: from 12 to 16 bytes. Timestamps double.
    room * 2 + 32
}

/// A control buffer for the guest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GuestControl {
    /// What fitted the guest's buffer.
    pub bytes: Vec<u8>,
    /// Something did not fit: `MSG_CTRUNC`.
    pub truncated: bool,
    /// Descriptors that were received but did not fit; they have to be closed.
    pub dropped: Vec<i32>,
}

/// The host's control buffer in the guest's layout, truncated to `room` bytes as the kernel would: a message of
/// descriptors to as many as fit, any other to as many bytes as fit.
pub fn to_guest(model: Model, host: &[u8], room: usize) -> GuestControl {
    let mut out = GuestControl::default();
    let header = CmsgHdr::size(model);
    for (level, kind, data) in messages(Model::HOST, host).flatten() {
        let converted;
        let kept = payload(level, kind);
        let data = if kept == Payload::Longs {
            converted = convert_longs(Model::HOST, model, data);
            &converted
        } else {
            data
        };
        let start = out.bytes.len().next_multiple_of(model.long);
        let space = room.saturating_sub(start + header);
        let fits = match kept {
            Payload::Rights => space / 4 * 4,
            _ => space,
        };
        let (data, rest) = data.split_at(fits.min(data.len()));
        out.truncated |= !rest.is_empty();
        if kept == Payload::Rights {
            out.dropped.extend(rest.chunks_exact(4).map(|fd| i32::decode(Model::HOST, fd)));
        }
        let no_header = start + header > room;
        out.truncated |= no_header;
        if !no_header && (!data.is_empty() || rest.is_empty()) {
            append(model, (level, kind, data), &mut out.bytes);
        }
    }
    // The last message is padded if there is room, so that CMSG_NXTHDR arithmetic stays inside msg_controllen.
    let padded = out.bytes.len().next_multiple_of(model.long).min(room);
    out.bytes.resize(padded, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fds(list: &[i32]) -> Vec<u8> {
        list.iter().flat_map(|fd| fd.to_le_bytes()).collect()
    }

    fn host_rights(list: &[i32]) -> Vec<u8> {
        let mut out = Vec::new();
        append(Model::HOST, (libc::SOL_SOCKET, libc::SCM_RIGHTS, &fds(list)), &mut out);
        out
    }

    #[test]
    fn rights_to_host() {
        let mut guest = Vec::new();
        append(Model::I386, (libc::SOL_SOCKET, libc::SCM_RIGHTS, &fds(&[5, 6, 7])), &mut guest);
        assert_eq!(guest.len(), 24);
        let host = to_host(Model::I386, &guest).expect("well-formed");
        assert_eq!(host.len(), 32);
        let list: Vec<_> = messages(Model::HOST, &host).collect();
        assert_eq!(list, [Some((libc::SOL_SOCKET, libc::SCM_RIGHTS, &fds(&[5, 6, 7])[..]))]);
    }

    #[test]
    fn two_messages_keep_their_order() {
        let mut host = host_rights(&[9]);
        append(Model::HOST, (libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[1; 12]), &mut host);
        let guest = to_guest(Model::I386, &host, 100);
        let list: Vec<_> = messages(Model::I386, &guest.bytes).flatten().collect();
        assert_eq!(list[0].1, libc::SCM_RIGHTS);
        assert_eq!(list[1], (libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[1; 12][..]));
        assert!(!guest.truncated);
        assert_eq!(to_host(Model::I386, &guest.bytes).map(|b| b.len()), Some(24 + 32));
    }

    #[test]
    fn timestamps_change_width() {
        let mut host = Vec::new();
        let times: Vec<u8> = [1_700_000_000_i64, 42].iter().flat_map(|v| v.to_le_bytes()).collect();
        append(Model::HOST, (libc::SOL_SOCKET, 29, &times), &mut host);
        let guest = to_guest(Model::I386, &host, 64);
        assert_eq!(guest.bytes.len(), 12 + 8);
        assert_eq!(i32::decode(Model::I386, &guest.bytes[12..]), 1_700_000_000);
        assert_eq!(to_host(Model::I386, &guest.bytes), Some(host));
    }

    #[test]
    fn descriptors_that_do_not_fit_are_named() {
        let guest = to_guest(Model::I386, &host_rights(&[5, 6, 7]), 12 + 6);
        assert!(guest.truncated);
        assert_eq!(guest.dropped, [6, 7]);
        assert_eq!(guest.bytes.len(), 16);
        let none = to_guest(Model::I386, &host_rights(&[5]), 4);
        assert_eq!((none.bytes.len(), none.dropped), (0, vec![5]));
    }

    #[test]
    fn malformed_buffers_are_refused() {
        let mut guest = Vec::new();
        append(Model::I386, (1, 1, &[0; 4]), &mut guest);
        guest[0] = 200;
        assert_eq!(to_host(Model::I386, &guest), None);
        guest[0] = 3;
        assert_eq!(to_host(Model::I386, &guest), None);
        assert_eq!(to_host(Model::I386, &[1, 2]), Some(Vec::new()));
    }
}
