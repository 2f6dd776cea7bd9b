//! What the monitor says of itself (VESA E-EDID 1.4).

/// Bytes of a block.
pub const LEN: usize = 128;

/// Standard timings: width, and the aspect ratio's code in bits 7:6 (0 16:10, 1 4:3, 2 5:4, 3 16:9); all at 60 Hz.
const TIMINGS: [(u16, u8); 8] = [(1920, 3), (1680, 0), (1600, 1), (1440, 0), (1280, 1), (1152, 1), (1024, 1), (800, 1)];

/// A block for a monitor that likes `width` by `height` best.
pub fn block(width: u16, height: u16) -> [u8; LEN] {
    let mut edid = [0; LEN];
    edid[..8].copy_from_slice(&[0, 255, 255, 255, 255, 255, 255, 0]);
    // Manufacturer "ISA" in five-bit letters, product 0x1234.
    let [i, s, a] = b"ISA".map(|letter| u16::from(letter - b'A' + 1));
    edid[8..10].copy_from_slice(&(i << 10 | s << 5 | a).to_be_bytes());
    edid[10..12].copy_from_slice(&0x1234u16.to_le_bytes());
    // Week 42 of 2014; version 1.4.
    edid[16..20].copy_from_slice(&[42, 24, 1, 4]);
    // Digital, 8 bits a colour, DisplayPort; size in cm at 100 dots an inch; gamma 2.2; RGB, preferred timing first.
    let cm = |pixels: u16| (u32::from(pixels) * 254 / 10_000) as u8;
    edid[20..25].copy_from_slice(&[0xa5, cm(width), cm(height), 120, 0x06]);
    // The colours of sRGB.
    edid[25..35].copy_from_slice(&[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // 640x480, 800x600 and 1024x768 at 60 Hz.
    edid[35..38].copy_from_slice(&[0x21, 0x08, 0]);
    for (i, (width, ratio)) in TIMINGS.into_iter().enumerate() {
        edid[38 + 2 * i] = (width / 8 - 31) as u8;
        edid[39 + 2 * i] = ratio << 6;
    }
    edid[54..72].copy_from_slice(&timing(width, height));
    edid[72..90].copy_from_slice(&descriptor(0xfd, &[50, 125, 30, 160, 0xff, 1, b'\n']));
    edid[90..108].copy_from_slice(&descriptor(0xfc, b"Isamorph\n"));
    edid[108..126].copy_from_slice(&descriptor(0x10, &[]));
    let sum = edid.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    edid[127] = sum.wrapping_neg();
    edid
}

/// A detailed timing at 60 Hz with reduced blanking.
fn timing(width: u16, height: u16) -> [u8; 18] {
    let (blank, front, sync) = (160u16, 48u16, 32u16);
    let (v_blank, v_front, v_sync) = (23u16, 3u16, 6u16);
    let clock = u32::from(width + blank) * u32::from(height + v_blank) * 60 / 10_000;
    let [c0, c1] = (clock as u16).to_le_bytes();
    let high = |a: u16, b: u16| (a >> 8 << 4 | b >> 8) as u8;
    let mm = |pixels: u16| (u32::from(pixels) * 254 / 1000) as u16;
    let (w, h) = (mm(width), mm(height));
    [
        c0,
        c1,
        width as u8,
        blank as u8,
        high(width, blank),
        height as u8,
        v_blank as u8,
        high(height, v_blank),
        front as u8,
        sync as u8,
        (v_front << 4 | v_sync) as u8,
        0,
        w as u8,
        h as u8,
        high(w, h),
        0,
        0,
        // Separate digital syncs.
        0x18,
    ]
}

fn descriptor(kind: u8, content: &[u8]) -> [u8; 18] {
    let mut out = [b' '; 18];
    out[..5].copy_from_slice(&[0, 0, 0, kind, 0]);
    out[5..5 + content.len()].copy_from_slice(content);
    if kind == 0x10 {
        out[5..].fill(0);
    }
    out
}
