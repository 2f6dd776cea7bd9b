//! The programs that filter system calls: classic BPF, of which `seccomp` admits a part (seccomp(2),
//! Documentation/networking/filter).

use crate::convert::record::record;

record! {
    /// `struct sock_filter`.
    Insn { code: u16, jt: u8, jf: u8, k: u32, }
}

/// Most instructions of a program (`BPF_MAXINSNS`).
pub const MOST_INSNS: usize = 4096;
/// Words of scratch memory (`BPF_MEMWORDS`).
const MEMORY: usize = 16;
/// Bytes of [`Data`].
const DATA_BYTES: u32 = 64;

/// `struct seccomp_data`: what a program is run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// The call's number.
    pub nr: u32,
    /// The architecture.
    pub arch: u32,
    /// The program counter after the instruction that makes the call.
    pub pc: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Data {
    /// The 32-bit word at an offset that has been checked.
    fn word(&self, offset: u32) -> u32 {
        let wide = |value: u64| (value >> (8 * (offset & 4))) as u32;
        match offset {
            0 => self.nr,
            4 => self.arch,
            8..16 => wide(self.pc),
            _ => wide(self.args[(offset as usize - 16) / 8 % 6]),
        }
    }
}

/// Classes of instructions and what goes with them (include/uapi/linux/bpf_common.h, filter.h).
mod code {
    pub const LD: u16 = 0;
    pub const LDX: u16 = 1;
    pub const ST: u16 = 2;
    pub const STX: u16 = 3;
    pub const ALU: u16 = 4;
    pub const JMP: u16 = 5;
    pub const RET: u16 = 6;
    pub const MISC: u16 = 7;
    pub const CLASS: u16 = 7;
    /// The operand is X instead of the constant.
    pub const X: u16 = 8;
    pub const OPERATION: u16 = 0xf0;
    /// Modes of loads of a word.
    pub const ABSOLUTE: u16 = 0x20;
    pub const IMMEDIATE: u16 = 0;
    pub const MEM: u16 = 0x60;
    pub const LEN: u16 = 0x80;
    /// `ret` of A instead of the constant.
    pub const RET_A: u16 = 0x16;
    pub const TAX: u16 = 0x07;
    pub const TXA: u16 = 0x87;
}

/// A program that has been checked: every jump goes forward to an instruction, and the last one returns.
#[derive(Debug)]
pub struct Filter {
    code: Vec<Insn>,
}

impl Filter {
    /// Checks a program.
    pub fn new(code: Vec<Insn>) -> Option<Self> {
        let last = code.last()?;
        let sound = code.iter().enumerate().all(|(at, insn)| is_sound(insn, code.len() - at - 1));
        (sound && last.code & code::CLASS == code::RET).then_some(Filter { code })
    }

    /// What the program says about a call.
    pub fn run(&self, data: &Data) -> u32 {
        let mut m = Machine { a: 0, x: 0, memory: [0; MEMORY] };
        let mut at = 0;
        // A program that has been checked ends with a return; without one, the call would be refused.
        while let Some(insn) = self.code.get(at) {
            at += 1;
            match insn.code & code::CLASS {
                code::RET if insn.code == code::RET_A => return m.a,
                code::RET => return insn.k,
                code::JMP => at += m.jump(insn),
                _ => {
                    if m.step(insn, data).is_none() {
                        return 0;
                    }
                }
            }
        }
        0
    }
}

/// Whether an instruction is one that a program may have `left` instructions before its end.
fn is_sound(insn: &Insn, left: usize) -> bool {
    let operation = insn.code & code::OPERATION;
    match insn.code & code::CLASS {
        code::LD if insn.code == code::ABSOLUTE => insn.k < DATA_BYTES && insn.k.is_multiple_of(4),
        code::LD | code::LDX => match insn.code & !code::CLASS {
            code::IMMEDIATE | code::LEN => true,
            code::MEM => (insn.k as usize) < MEMORY,
            _ => false,
        },
        code::ST | code::STX => insn.code & !code::CLASS == 0 && (insn.k as usize) < MEMORY,
        code::ALU => {
            let divides = operation == 0x30;
            let shifts = matches!(operation, 0x60 | 0x70);
            let constant = insn.code & code::X == 0;
            // No remainder: the kernel refuses it in these programs.
            let known = operation <= 0x80 || operation == 0xa0;
            known && insn.code < 0x100 && !(constant && (divides && insn.k == 0 || shifts && insn.k >= 32))
        }
        code::JMP => match operation {
            0 => insn.code == code::JMP && (insn.k as usize) < left,
            0x10..=0x40 => usize::from(insn.jt) < left && usize::from(insn.jf) < left && insn.code < 0x100,
            _ => false,
        },
        code::RET => matches!(insn.code, code::RET | code::RET_A),
        _ => matches!(insn.code, code::TAX | code::TXA),
    }
}

/// The registers of the machine that runs programs.
struct Machine {
    a: u32,
    x: u32,
    memory: [u32; MEMORY],
}

impl Machine {
    fn operand(&self, insn: &Insn) -> u32 {
        if insn.code & code::X != 0 { self.x } else { insn.k }
    }
    /// Instructions that a jump skips.
    fn jump(&self, insn: &Insn) -> usize {
        let operand = self.operand(insn);
        let taken = match insn.code & code::OPERATION {
            0x10 => self.a == operand,
            0x20 => self.a > operand,
            0x30 => self.a >= operand,
            0x40 => self.a & operand != 0,
            _ => return insn.k as usize,
        };
        usize::from(if taken { insn.jt } else { insn.jf })
    }
    /// Executes anything else; `None` for a division by zero, which ends the program.
    fn step(&mut self, insn: &Insn, data: &Data) -> Option<()> {
        let slot = insn.k as usize % MEMORY;
        let loaded = match insn.code & !code::CLASS {
            code::ABSOLUTE => data.word(insn.k),
            code::MEM => self.memory[slot],
            code::LEN => DATA_BYTES,
            _ => insn.k,
        };
        match insn.code & code::CLASS {
            code::LD => self.a = loaded,
            code::LDX => self.x = loaded,
            code::ST => self.memory[slot] = self.a,
            code::STX => self.memory[slot] = self.x,
            code::ALU => self.a = self.compute(insn)?,
            code::MISC if insn.code == code::TAX => self.x = self.a,
            _ => self.a = self.x,
        }
        Some(())
    }
    fn compute(&self, insn: &Insn) -> Option<u32> {
        let (a, b) = (self.a, self.operand(insn));
        Some(match insn.code & code::OPERATION {
            0x00 => a.wrapping_add(b),
            0x10 => a.wrapping_sub(b),
            0x20 => a.wrapping_mul(b),
            0x30 => a.checked_div(b)?,
            0x40 => a | b,
            0x50 => a & b,
            0x60 => a.wrapping_shl(b),
            0x70 => a.wrapping_shr(b),
            0x80 => a.wrapping_neg(),
            _ => a ^ b,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    #[test]
    fn words_of_the_data() {
        let args = [0x1111_1111_2222_2222, 0, 0, 0, 0, 0x3333_3333_4444_4444];
        let data = Data { nr: 1, arch: 2, pc: 0x3_0000_0004, args };
        let words = [0, 4, 8, 12, 16, 20, 56, 60].map(|at| data.word(at));
        assert_eq!(words, [1, 2, 4, 3, 0x2222_2222, 0x1111_1111, 0x4444_4444, 0x3333_3333]);
    }

    #[test]
    fn a_program_computes_and_branches() {
        let code = vec![
            insn(0x20, 0, 0, 16),  // ld [args[0]]
            insn(0x54, 0, 0, 0xf), // and #15
            insn(0x02, 0, 0, 3),   // st M[3]
            insn(0x61, 0, 0, 3),   // ldx M[3]
            insn(0x0c, 0, 0, 0),   // add x
            insn(0x15, 0, 1, 6),   // jeq #6
            insn(0x16, 0, 0, 0),   // ret a
            insn(0x06, 0, 0, 99),  // ret #99
        ];
        let filter = Filter::new(code).unwrap();
        let run = |arg| filter.run(&Data { args: [arg, 0, 0, 0, 0, 0], ..Data::default() });
        assert_eq!((run(0xf3), run(4)), (6, 99));
    }

    #[test]
    fn programs_that_could_go_wrong_are_refused() {
        let ret = insn(0x06, 0, 0, 0);
        let refused = [
            vec![],
            vec![insn(0x20, 0, 0, 0)],
            vec![insn(0x20, 0, 0, 64), ret],
            vec![insn(0x20, 0, 0, 2), ret],
            vec![insn(0x28, 0, 0, 0), ret],
            vec![insn(0x02, 0, 0, 16), ret],
            vec![insn(0x05, 0, 0, 1), ret],
            vec![insn(0x15, 0, 1, 0), ret],
            vec![insn(0x34, 0, 0, 0), ret],
            vec![insn(0x64, 0, 0, 32), ret],
            vec![insn(0x94, 0, 0, 3), ret],
        ];
        for code in refused {
            assert!(Filter::new(code.clone()).is_none(), "{code:?}");
        }
    }

    #[test]
    fn a_division_by_zero_refuses_the_call() {
        let filter = Filter::new(vec![insn(0x3c, 0, 0, 0), insn(0x06, 0, 0, 7)]).unwrap();
        assert_eq!(filter.run(&Data::default()), 0);
    }
}
