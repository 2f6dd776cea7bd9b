//! Ciphers, checksums and polynomials over {0, 1}.

/// The cyclic redundancy check `crc` with `bytes` bytes of `data` added, bits reflected. `kind` 0 is Castagnoli's
/// polynomial, 1 that of ISO 3309.
pub(crate) fn crc(crc: u32, data: u64, bytes: u32, kind: u32) -> u32 {
    let polynomial: u32 = if kind == 0 { 0x82f6_3b78 } else { 0xedb8_8320 };
    (0..8 * bytes).fold(crc, |crc, bit| {
        let out = (crc ^ (data >> bit) as u32) & 1;
        (crc >> 1) ^ (polynomial * out)
    })
}

/// The product of two polynomials.
pub(crate) fn carryless(a: u64, b: u64) -> u128 {
    (0..64).filter(|bit| b >> bit & 1 != 0).fold(0, |product, bit| product ^ u128::from(a) << bit)
}

/// The product in the field of AES, whose polynomial is x⁸ + x⁴ + x³ + x + 1 (FIPS 197, 4.2).
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut product, mut bit) = (a, 0, 0);
    while bit < 8 {
        if b >> bit & 1 != 0 {
            product ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        bit += 1;
    }
    product
}

/// The substitution and its inverse (FIPS 197, 5.1.1): the inverse in the field, then an affine map.
const fn substitutions() -> ([u8; 256], [u8; 256]) {
    let (mut forward, mut backward) = ([0; 256], [0; 256]);
    let mut x = 0;
    while x < 256 {
        // The inverse of x is x²⁵⁴ = x² x⁴ … x¹²⁸.
        let (mut power, mut inverse, mut n) = (x as u8, 1, 0);
        while n < 7 {
            power = multiply(power, power);
            inverse = multiply(inverse, power);
            n += 1;
        }
        let i = inverse;
        let y = i ^ i.rotate_left(1) ^ i.rotate_left(2) ^ i.rotate_left(3) ^ i.rotate_left(4) ^ 0x63;
        forward[x] = y;
        backward[y as usize] = x as u8;
        x += 1;
    }
    (forward, backward)
}

static SUBSTITUTIONS: ([u8; 256], [u8; 256]) = substitutions();

/// Byte substitution and shift of rows: byte `r + 4c` of the result comes from column `c + r` (FIPS 197, 5.1).
pub(crate) fn encrypt(state: u128) -> u128 {
    let old = state.to_le_bytes();
    u128::from_le_bytes(std::array::from_fn(|at| SUBSTITUTIONS.0[usize::from(old[(at + 4 * (at % 4)) % 16])]))
}

/// The inverse of [`encrypt`].
pub(crate) fn decrypt(state: u128) -> u128 {
    let old = state.to_le_bytes();
    u128::from_le_bytes(std::array::from_fn(|at| SUBSTITUTIONS.1[usize::from(old[(at + 12 * (at % 4)) % 16])]))
}

/// Every column times a fixed polynomial, given by its coefficients.
fn columns(state: u128, coefficients: [u8; 4]) -> u128 {
    let old = state.to_le_bytes();
    u128::from_le_bytes(std::array::from_fn(|at| {
        let (column, row) = (at & !3, at & 3);
        (0..4).fold(0, |sum, i| sum ^ multiply(old[column + (row + i) % 4], coefficients[i]))
    }))
}

/// FIPS 197, 5.1.3.
pub(crate) fn mix_columns(state: u128) -> u128 {
    columns(state, [2, 3, 1, 1])
}

/// FIPS 197, 5.3.3.
pub(crate) fn inverse_mix_columns(state: u128) -> u128 {
    columns(state, [14, 11, 13, 9])
}

/// AESKEYGENASSIST: of words 1 and 3, the substituted word, then that rotated and with the round constant.
pub(crate) fn expand_key(key: u128, constant: u8) -> u128 {
    let word = |at: u32| {
        let bytes = ((key >> (32 * at)) as u32).to_le_bytes();
        let substituted = u32::from_le_bytes(bytes.map(|byte| SUBSTITUTIONS.0[usize::from(byte)]));
        let rotated = substituted.rotate_right(8) ^ u32::from(constant);
        u128::from(substituted) | u128::from(rotated) << 32
    };
    word(1) | word(3) << 64
}
