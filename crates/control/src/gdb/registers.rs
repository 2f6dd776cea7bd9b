//! What gdb calls registers, for each guest architecture: names, sizes and order as in gdb's own feature descriptions
//! (gdb manual, "Standard Target Features").

// tidy: table
use isamorph_ir::{CpuState, RegId};
use std::fmt::Write;

/// A run of registers of one kind.
#[derive(Clone, Copy)]
pub(super) struct Group {
    /// Names in gdb's order.
    pub names: &'static [&'static str],
    /// Width of each, bits.
    pub bits: u32,
    /// gdb's type.
    pub ty: &'static str,
    /// Value of the one with that index.
    pub get: fn(&CpuState, usize) -> u128,
    /// Sets it.
    pub set: fn(&mut CpuState, usize, u128),
}

/// A feature of gdb's description.
pub(super) struct Feature {
    pub name: &'static str,
    pub groups: &'static [Group],
}

/// The registers of an architecture.
pub(super) struct Registers {
    /// gdb's name of the architecture.
    pub architecture: &'static str,
    pub features: &'static [Feature],
}

impl Registers {
    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.features.iter().flat_map(|feature| feature.groups)
    }
    /// All registers one after the other, as gdb's `g` packet has them.
    pub fn read(&self, state: &CpuState) -> Vec<u8> {
        let mut out = Vec::new();
        for group in self.groups() {
            for index in 0..group.names.len() {
                out.extend(&(group.get)(state, index).to_le_bytes()[..group.bits as usize / 8]);
            }
        }
        out
    }
    /// The inverse; what is missing at the end stays as it is.
    pub fn write(&self, state: &mut CpuState, bytes: &[u8]) {
        let mut rest = bytes;
        for group in self.groups() {
            for index in 0..group.names.len() {
                let Some((raw, after)) = rest.split_at_checked(group.bits as usize / 8) else { return };
                let mut wide = [0; 16];
                wide[..raw.len()].copy_from_slice(raw);
                (group.set)(state, index, u128::from_le_bytes(wide));
                rest = after;
            }
        }
    }
    /// gdb's description of the target.
    pub fn description(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>");
        let _ = write!(xml, "<architecture>{}</architecture><osabi>GNU/Linux</osabi>", self.architecture);
        for feature in self.features {
            let _ = write!(xml, "<feature name=\"{}\">{VECTORS}", feature.name);
            for group in feature.groups {
                for name in group.names {
                    let _ = write!(xml, "<reg name=\"{name}\" bitsize=\"{}\" type=\"{}\"/>", group.bits, group.ty);
                }
            }
            xml.push_str("</feature>");
        }
        xml.push_str("</target>");
        xml
    }
}

/// The type of vector registers: seen as bytes, or as numbers.
const VECTORS: &str = concat!(
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>",
    "<vector id=\"v16b\" type=\"uint8\" count=\"16\"/><vector id=\"v4w\" type=\"uint32\" count=\"4\"/>",
    "<vector id=\"v2l\" type=\"uint64\" count=\"2\"/>",
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>",
    "<field name=\"v16_int8\" type=\"v16b\"/><field name=\"v4_int32\" type=\"v4w\"/>",
    "<field name=\"v2_int64\" type=\"v2l\"/><field name=\"uint128\" type=\"uint128\"/></union>"
);

/// The registers of the architecture with that name.
pub(super) fn of(name: &str) -> Option<&'static Registers> {
    match name {
        "i386" => Some(&x86::I386),
        "x86_64" => Some(&x86::AMD64),
        "aarch64" => Some(&a64::AARCH64),
        "arm" => Some(&arm::ARM),
        _ => None,
    }
}

fn pc(state: &CpuState, _index: usize) -> u128 {
    state.pc().into()
}

fn set_pc(state: &mut CpuState, _index: usize, value: u128) {
    state.set_pc(value as u64);
}

const fn reg(index: usize) -> RegId {
    RegId(index as u16)
}

mod x86 {
    use super::{Feature, Group, Registers, pc, reg, set_pc};
    use isamorph_ir::{CpuState, RegId, RegTable};
    use isamorph_x86::state::{self, AMD64 as LONG, I386 as SHORT};

    fn get(table: &RegTable, state: &CpuState, id: RegId) -> u128 {
        state.get(table, id).into()
    }
    fn eflags(state: &CpuState, _index: usize) -> u128 {
        state::eflags(state).into()
    }
    fn set_eflags(state: &mut CpuState, _index: usize, value: u128) {
        state::set_eflags(state, value as u32);
    }
    /// Number of gdb's segment register in the encoding of instructions, which is the order of the tables.
    const SEGMENTS: [RegId; 6] = [state::CS, state::SS, state::DS, state::ES, state::FS, state::GS];
    fn segment(state: &CpuState, index: usize) -> u128 {
        get(&SHORT, state, SEGMENTS[index])
    }
    /// Selectors decide about more than themselves: they are not changed from outside.
    fn keep(_: &mut CpuState, _: usize, _: u128) {}

    fn bytes(state: &CpuState, at: usize, len: usize) -> u128 {
        let mut wide = [0; 16];
        wide[..len].copy_from_slice(&state::fxsave_image(state)[at..at + len]);
        u128::from_le_bytes(wide)
    }
    fn set_bytes(state: &mut CpuState, at: usize, len: usize, value: u128) {
        state::fxsave_image_mut(state)[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }
    fn st(state: &CpuState, index: usize) -> u128 {
        bytes(state, 32 + 16 * index, 10)
    }
    fn set_st(state: &mut CpuState, index: usize, value: u128) {
        set_bytes(state, 32 + 16 * index, 10, value);
    }
    fn xmm(state: &CpuState, index: usize) -> u128 {
        bytes(state, 160 + 16 * index, 16)
    }
    fn set_xmm(state: &mut CpuState, index: usize, value: u128) {
        set_bytes(state, 160 + 16 * index, 16, value);
    }
    fn mxcsr(state: &CpuState, _index: usize) -> u128 {
        bytes(state, 24, 4)
    }
    fn set_mxcsr(state: &mut CpuState, _index: usize, value: u128) {
        set_bytes(state, 24, 4, value & u128::from(state::MXCSR_MASK));
    }
    /// Offset and length in the FXSAVE image of fctrl, fstat, ftag, fiseg, fioff, foseg, fooff, fop.
    const X87: [(usize, usize); 8] = [(0, 2), (2, 2), (4, 1), (12, 2), (8, 4), (20, 2), (16, 4), (6, 2)];
    fn x87(state: &CpuState, index: usize) -> u128 {
        let value = bytes(state, X87[index].0, X87[index].1);
        // gdb has two bits per register: 3 is empty.
        if index == 2 { (0..8).map(|n| if value >> n & 1 == 0 { 3 << (2 * n) } else { 0 }).sum() } else { value }
    }
    fn set_x87(state: &mut CpuState, index: usize, value: u128) {
        let tags = |value: u128| (0..8).map(|n| u128::from(value >> (2 * n) & 3 != 3) << n).sum();
        let value = if index == 2 { tags(value) } else { value };
        set_bytes(state, X87[index].0, X87[index].1, value);
    }

    const ST: Group = Group {
        names: &["st0", "st1", "st2", "st3", "st4", "st5", "st6", "st7"],
        bits: 80,
        ty: "i387_ext",
        get: st,
        set: set_st,
    };
    const CONTROL: Group = Group {
        names: &["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"],
        bits: 32,
        ty: "int",
        get: x87,
        set: set_x87,
    };
    const MXCSR: Group = Group { names: &["mxcsr"], bits: 32, ty: "int", get: mxcsr, set: set_mxcsr };
    const SELECTORS: Group =
        Group { names: &["cs", "ss", "ds", "es", "fs", "gs"], bits: 32, ty: "int32", get: segment, set: keep };
    const EFLAGS: Group = Group { names: &["eflags"], bits: 32, ty: "int32", get: eflags, set: set_eflags };

    pub static I386: Registers = Registers {
        architecture: "i386",
        features: &[
            Feature {
                name: "org.gnu.gdb.i386.core",
                groups: &[
                    Group {
                        names: &["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"],
                        bits: 32,
                        ty: "int32",
                        get: |state, index| get(&SHORT, state, reg(index)),
                        set: |state, index, value| state.set(&SHORT, reg(index), value as u64),
                    },
                    Group { names: &["eip"], bits: 32, ty: "code_ptr", get: pc, set: set_pc },
                    EFLAGS,
                    SELECTORS,
                    ST,
                    CONTROL,
                ],
            },
            Feature {
                name: "org.gnu.gdb.i386.sse",
                groups: &[
                    Group {
                        names: &["xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7"],
                        bits: 128,
                        ty: "vec128",
                        get: xmm,
                        set: set_xmm,
                    },
                    MXCSR,
                ],
            },
        ],
    };

    /// gdb's order of the integer registers, in the numbers of the instruction set.
    const LONG_ORDER: [u16; 16] = [0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15];

    pub static AMD64: Registers = Registers {
        architecture: "i386:x86-64",
        features: &[
            Feature {
                name: "org.gnu.gdb.i386.core",
                groups: &[
                    Group {
                        names: &[
                            "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12",
                            "r13", "r14", "r15",
                        ],
                        bits: 64,
                        ty: "int64",
                        get: |state, index| get(&LONG, state, state::gpr(LONG_ORDER[index])),
                        set: |state, index, value| state.set(&LONG, state::gpr(LONG_ORDER[index]), value as u64),
                    },
                    Group { names: &["rip"], bits: 64, ty: "code_ptr", get: pc, set: set_pc },
                    EFLAGS,
                    SELECTORS,
                    ST,
                    CONTROL,
                ],
            },
            Feature {
                name: "org.gnu.gdb.i386.sse",
                groups: &[
                    Group {
                        names: &[
                            "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                            "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
                        ],
                        bits: 128,
                        ty: "vec128",
                        get: xmm,
                        set: set_xmm,
                    },
                    MXCSR,
                ],
            },
            Feature {
                name: "org.gnu.gdb.i386.segments",
                groups: &[Group {
                    names: &["fs_base", "gs_base"],
                    bits: 64,
                    ty: "int",
                    get: |state, index| get(&LONG, state, [state::FS_BASE, state::GS_BASE][index]),
                    set: |state, index, value| {
                        state.set(&LONG, [state::FS_BASE, state::GS_BASE][index], value as u64);
                    },
                }],
            },
        ],
    };
}

mod a64 {
    use super::{Feature, Group, Registers, pc, set_pc};
    use isamorph_a64::state::{self, A64};

    pub static AARCH64: Registers = Registers {
        architecture: "aarch64",
        features: &[
            Feature {
                name: "org.gnu.gdb.aarch64.core",
                groups: &[
                    Group {
                        names: &[
                            "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
                            "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26",
                            "x27", "x28", "x29", "x30",
                        ],
                        bits: 64,
                        ty: "int",
                        get: |state, index| state.get(&A64, state::x(index as u32)).into(),
                        set: |state, index, value| state.set(&A64, state::x(index as u32), value as u64),
                    },
                    Group {
                        names: &["sp"],
                        bits: 64,
                        ty: "data_ptr",
                        get: |state, _| state.get(&A64, state::SP).into(),
                        set: |state, _, value| state.set(&A64, state::SP, value as u64),
                    },
                    Group { names: &["pc"], bits: 64, ty: "code_ptr", get: pc, set: set_pc },
                    Group {
                        names: &["cpsr"],
                        bits: 32,
                        ty: "int",
                        get: |state, _| state::nzcv(state).into(),
                        set: |state, _, value| state::set_nzcv(state, value as u32),
                    },
                ],
            },
            Feature {
                name: "org.gnu.gdb.aarch64.fpu",
                groups: &[
                    Group {
                        names: &[
                            "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13",
                            "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",
                            "v27", "v28", "v29", "v30", "v31",
                        ],
                        bits: 128,
                        ty: "vec128",
                        get: |state, index| state.get_wide(&A64, state::v(index as u32)),
                        set: |state, index, value| state.set_wide(&A64, state::v(index as u32), value),
                    },
                    Group {
                        names: &["fpsr", "fpcr"],
                        bits: 32,
                        ty: "int",
                        get: |state, index| if index == 0 { state::fpsr(state) } else { state::fpcr(state) }.into(),
                        set: |state, index, value| match index {
                            0 => state::set_fpsr(state, value as u32),
                            _ => state::set_fpcr(state, value as u32),
                        },
                    },
                ],
            },
        ],
    };
}

mod arm {
    use super::{Feature, Group, Registers};
    use isamorph_arm::state;

    pub static ARM: Registers = Registers {
        architecture: "arm",
        features: &[
            Feature {
                name: "org.gnu.gdb.arm.core",
                groups: &[
                    Group {
                        names: &[
                            "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr",
                        ],
                        bits: 32,
                        ty: "uint32",
                        get: |state, index| state::read(state, index as u32).into(),
                        set: |state, index, value| state::write(state, index as u32, value as u32),
                    },
                    // Bit 0, the instruction set, is in the status register.
                    Group {
                        names: &["pc"],
                        bits: 32,
                        ty: "code_ptr",
                        get: |state, _| (state.pc() & !1).into(),
                        set: |state, _, value| {
                            let thumb = state.pc() & 1;
                            state.set_pc(value as u64 & !1 | thumb);
                        },
                    },
                    Group {
                        names: &["cpsr"],
                        bits: 32,
                        ty: "int",
                        get: |state, _| state::cpsr(state).into(),
                        set: |state, _, value| state::set_cpsr(state, value as u32),
                    },
                ],
            },
            Feature {
                name: "org.gnu.gdb.arm.vfp",
                groups: &[
                    Group {
                        names: &[
                            "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11", "d12", "d13",
                            "d14", "d15", "d16", "d17", "d18", "d19", "d20", "d21", "d22", "d23", "d24", "d25", "d26",
                            "d27", "d28", "d29", "d30", "d31",
                        ],
                        bits: 64,
                        ty: "ieee_double",
                        get: |state, index| state::read_d(state, index as u32).into(),
                        set: |state, index, value| state::write_d(state, index as u32, value as u64),
                    },
                    Group {
                        names: &["fpscr"],
                        bits: 32,
                        ty: "int",
                        get: |state, _| state::fpscr(state).into(),
                        set: |state, _, value| state::set_fpscr(state, value as u32),
                    },
                ],
            },
        ],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for name in ["i386", "x86_64", "aarch64", "arm"] {
            let registers = of(name).unwrap();
            let mut state = CpuState::new();
            match name {
                "i386" => isamorph_x86::state::reset_user(&mut state),
                "x86_64" => isamorph_x86::state::reset_user64(&mut state),
                "aarch64" => isamorph_a64::state::reset_user(&mut state),
                _ => isamorph_arm::state::reset_user(&mut state),
            }
            let mut bytes = registers.read(&state);
            // The first register and the last one of the first group.
            (bytes[0], bytes[5]) = (0x5a, 0xa5);
            registers.write(&mut state, &bytes);
            assert_eq!(registers.read(&state), bytes, "{name}");
            assert!(registers.description().contains(registers.architecture));
        }
    }

    #[test]
    fn sizes_are_those_that_gdb_expects() {
        // Registers of the core features, as in gdb's own descriptions.
        let size = |name: &str| of(name).unwrap().read(&CpuState::new()).len();
        assert_eq!(size("i386"), 4 * 16 + 10 * 8 + 4 * 8 + 16 * 8 + 4);
        assert_eq!(size("x86_64"), 8 * 17 + 4 * 7 + 10 * 8 + 4 * 8 + 16 * 16 + 4 + 16);
        assert_eq!(size("aarch64"), 8 * 33 + 4 + 16 * 32 + 8);
        assert_eq!(size("arm"), 4 * 17 + 8 * 32 + 4);
    }
}
