//! Host code as text.

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use isamorph_engine::HostCode;
use std::fmt::Write as _;

/// Bits of a host instruction's addresses.
const HOST_BITS: u32 = 64;

/// Emitted code in the form of QEMU's `-d out_asm`: each guest instruction with the host instructions that stand for
/// it.
pub fn host(code: &HostCode<'_>) -> String {
    let mut text = format!("OUT: [size={}]\n", code.bytes.len());
    let mut starts = code.insns.iter().peekable();
    let mut decoder = Decoder::with_ip(HOST_BITS, code.bytes, code.address as u64, DecoderOptions::NONE);
    let mut formatter = formatter();
    while decoder.can_decode() {
        let at = decoder.position();
        while let Some((pc, ..)) = starts.next_if(|(.., start)| *start as usize <= at) {
            let _ = writeln!(text, "  -- guest addr {pc:#010x}");
        }
        let insn = decoder.decode();
        let bytes: String = code.bytes[at..decoder.position()].iter().map(|byte| format!("{byte:02x} ")).collect();
        let _ = write!(text, "{:#x}:  {bytes:<30} ", insn.ip());
        formatter.format(&insn, &mut text);
        text.push('\n');
    }
    text.push('\n');
    text
}

/// AT&T syntax with size suffixes, as the guest's side of the log.
fn formatter() -> GasFormatter {
    let mut formatter = GasFormatter::new();
    let options = formatter.options_mut();
    options.set_gas_show_mnemonic_size_suffix(true);
    options.set_first_operand_char_index(9);
    options.set_space_after_operand_separator(true);
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    formatter
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn host_code_is_shown_for_each_guest_instruction() {
        let code = HostCode {
            pc: 0x0804_9000,
            address: 0x7f00_0000_0000,
            bytes: &[0x90, 0x89, 0xe5, 0x48, 0x83, 0xc4, 0x08, 0xc3],
            insns: &[(0x0804_9000, 2, 1), (0x0804_9002, 3, 3)],
            took: Duration::ZERO,
        };
        let expected = "\
OUT: [size=8]
0x7f0000000000:  90                             nop
  -- guest addr 0x08049000
0x7f0000000001:  89 e5                          movl     %esp, %ebp
  -- guest addr 0x08049002
0x7f0000000003:  48 83 c4 08                    addq     $8, %rsp
0x7f0000000007:  c3                             retq

";
        assert_eq!(host(&code), expected);
    }
}
