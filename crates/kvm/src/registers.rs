//! The processor's state, to KVM and back.

use crate::failed;
use isamorph_ir::{CpuState, RegId};
use isamorph_x86::state::{self, AMD64, CR0, CR4, CS_BASE, ES, ES_ATTR, ES_BASE, ES_LIMIT, SHADOW, gpr, rights, word};
use isamorph_x86::state::{FS_BASE, GS_BASE, word::Word};
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_dtable, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_vcpu_events,
};
use kvm_ioctls::VcpuFd;

/// Model-specific registers that are words of the state (SDM vol. 4, 2.1).
const MSRS: &[(u32, Word)] = &[
    (0x174, word::SYSENTER_CS),
    (0x175, word::SYSENTER_ESP),
    (0x176, word::SYSENTER_EIP),
    (0x1a0, word::MISC_ENABLE),
    (0x277, word::PAT),
    (0x2ff, word::MTRR_DEFAULT),
    (0xc000_0081, word::STAR),
    (0xc000_0082, word::LSTAR),
    (0xc000_0083, word::CSTAR),
    (0xc000_0084, word::FMASK),
    (0xc000_0102, word::KERNEL_GS_BASE),
    (0xc000_0103, word::TSC_AUX),
];

/// Reads the registers of a stopped vCPU.
///
/// # Errors
/// What the host refuses, as text.
pub fn load(vcpu: &VcpuFd, state: &mut CpuState) -> Result<(), String> {
    load_system(&vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?, state);
    load_integers(&vcpu.get_regs().map_err(failed("KVM_GET_REGS"))?, state);
    load_fpu(&vcpu.get_fpu().map_err(failed("KVM_GET_FPU"))?, state);
    load_msrs(vcpu, state);
    let debug = vcpu.get_debug_regs().map_err(failed("KVM_GET_DEBUGREGS"))?;
    (0..4).for_each(|n| word::DR0.at(n).set(state, debug.db[n as usize]));
    word::DR6.set(state, debug.dr6);
    word::DR7.set(state, debug.dr7);
    let events = vcpu.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?;
    word::NMI_BLOCKED.set(state, events.nmi.masked.into());
    word::IN_SMM.set(state, events.smi.smm.into());
    state.set(&AMD64, SHADOW, u64::from(events.interrupt.shadow != 0));
    Ok(())
}

/// Writes the registers of a stopped vCPU; `apic_base` and `priority` are those of the machine's interrupt controller.
///
/// # Errors
/// What the host refuses, as text.
pub fn store(vcpu: &VcpuFd, state: &CpuState, apic_base: u64, priority: u64) -> Result<(), String> {
    let old = vcpu.get_sregs().map_err(failed("KVM_GET_SREGS"))?;
    vcpu.set_sregs(&stored_system(state, old, apic_base, priority)).map_err(failed("KVM_SET_SREGS"))?;
    vcpu.set_regs(&stored_integers(state)).map_err(failed("KVM_SET_REGS"))?;
    vcpu.set_fpu(&stored_fpu(state)).map_err(failed("KVM_SET_FPU"))?;
    store_msrs(vcpu, state);
    let db = std::array::from_fn(|n| word::DR0.at(n as u32).get(state));
    let debug = kvm_debugregs { db, dr6: word::DR6.get(state), dr7: word::DR7.get(state), ..Default::default() };
    vcpu.set_debug_regs(&debug).map_err(failed("KVM_SET_DEBUGREGS"))?;
    let mut events = kvm_vcpu_events::default();
    events.nmi.masked = word::NMI_BLOCKED.get(state) as u8;
    events.flags = kvm_bindings::KVM_VCPUEVENT_VALID_SHADOW;
    events.interrupt.shadow = state.get(&AMD64, SHADOW) as u8;
    vcpu.set_vcpu_events(&events).map_err(failed("KVM_SET_VCPU_EVENTS"))
}

fn load_integers(regs: &kvm_regs, state: &mut CpuState) {
    let values = [
        regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi, regs.r8, regs.r9, regs.r10,
        regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ];
    (0..16).zip(values).for_each(|(n, value)| state.set(&AMD64, gpr(n), value));
    state::set_eflags(state, regs.rflags as u32);
    let linear = regs.rip.wrapping_add(state.get(&AMD64, CS_BASE));
    state.set_pc(if state::long_mode(state) { linear } else { linear & u64::from(u32::MAX) });
}

fn stored_integers(state: &CpuState) -> kvm_regs {
    let get = |n| state.get(&AMD64, gpr(n));
    let eip = state.pc().wrapping_sub(state.get(&AMD64, CS_BASE));
    kvm_regs {
        rax: get(0),
        rcx: get(1),
        rdx: get(2),
        rbx: get(3),
        rsp: get(4),
        rbp: get(5),
        rsi: get(6),
        rdi: get(7),
        r8: get(8),
        r9: get(9),
        r10: get(10),
        r11: get(11),
        r12: get(12),
        r13: get(13),
        r14: get(14),
        r15: get(15),
        rip: if state::long_mode(state) { eip } else { eip & u64::from(u32::MAX) },
        rflags: state::eflags(state).into(),
    }
}

/// The row of a segment's base, by its number in encoding order.
fn base_row(number: u16) -> RegId {
    match number {
        4 => FS_BASE,
        5 => GS_BASE,
        n => RegId(ES_BASE.0 + n),
    }
}

fn load_system(sregs: &kvm_sregs, state: &mut CpuState) {
    let segments = [sregs.es, sregs.cs, sregs.ss, sregs.ds, sregs.fs, sregs.gs];
    for (n, segment) in (0..6).zip(&segments) {
        state.set(&AMD64, RegId(ES.0 + n), segment.selector.into());
        state.set(&AMD64, base_row(n), segment.base);
        state.set(&AMD64, RegId(ES_LIMIT.0 + n), segment.limit.into());
        state.set(&AMD64, RegId(ES_ATTR.0 + n), attributes(segment).into());
    }
    for (segment, first) in [(&sregs.ldt, word::LDTR), (&sregs.tr, word::TR)] {
        let values = [segment.selector.into(), segment.base, segment.limit.into(), attributes(segment).into()];
        (0..4).zip(values).for_each(|(n, value)| first.at(n).set(state, value));
    }
    for (table, first) in [(&sregs.gdt, word::GDTR_BASE), (&sregs.idt, word::IDTR_BASE)] {
        first.set(state, table.base);
        first.at(1).set(state, table.limit.into());
    }
    state.set(&AMD64, CR0, sregs.cr0);
    state.set(&AMD64, CR4, sregs.cr4);
    word::CR2.set(state, sregs.cr2);
    word::CR3.set(state, sregs.cr3);
    word::EFER.set(state, sregs.efer);
}

fn stored_system(state: &CpuState, old: kvm_sregs, apic_base: u64, priority: u64) -> kvm_sregs {
    let segment = |n: u16| {
        let get = |row| state.get(&AMD64, row);
        segment(
            get(RegId(ES.0 + n)) as u16,
            get(base_row(n)),
            get(RegId(ES_LIMIT.0 + n)) as u32,
            get(RegId(ES_ATTR.0 + n)) as u32,
        )
    };
    let system = |first: Word| {
        let get = |n| first.at(n).get(state);
        self::segment(get(0) as u16, get(1), get(2) as u32, get(3) as u32)
    };
    let table =
        |first: Word| kvm_dtable { base: first.get(state), limit: first.at(1).get(state) as u16, ..Default::default() };
    kvm_sregs {
        es: segment(0),
        cs: segment(1),
        ss: segment(2),
        ds: segment(3),
        fs: segment(4),
        gs: segment(5),
        ldt: system(word::LDTR),
        tr: system(word::TR),
        gdt: table(word::GDTR_BASE),
        idt: table(word::IDTR_BASE),
        cr0: state.get(&AMD64, CR0),
        cr2: word::CR2.get(state),
        cr3: word::CR3.get(state),
        cr4: state.get(&AMD64, CR4),
        cr8: priority,
        efer: word::EFER.get(state),
        apic_base,
        ..old
    }
}

/// A segment's attributes as the state keeps them: the upper half of its descriptor.
fn attributes(s: &kvm_segment) -> u32 {
    if s.unusable != 0 {
        return 0;
    }
    let bit = |set: u8, value: u32| if set != 0 { value } else { 0 };
    u32::from(s.type_) << 8
        | bit(s.s, rights::ORDINARY)
        | u32::from(s.dpl) << rights::DPL_SHIFT
        | bit(s.present, rights::PRESENT)
        | bit(s.avl, rights::AVAILABLE)
        | bit(s.l, rights::LONG)
        | bit(s.db, rights::BIG)
        | bit(s.g, rights::PAGES)
}

fn segment(selector: u16, base: u64, limit: u32, attr: u32) -> kvm_segment {
    let bit = |value: u32| u8::from(attr & value != 0);
    kvm_segment {
        base,
        limit,
        selector,
        type_: (attr >> 8 & 0xf) as u8,
        present: bit(rights::PRESENT),
        dpl: (attr >> rights::DPL_SHIFT & 3) as u8,
        db: bit(rights::BIG),
        s: bit(rights::ORDINARY),
        l: bit(rights::LONG),
        g: bit(rights::PAGES),
        avl: bit(rights::AVAILABLE),
        unusable: u8::from(attr & rights::PRESENT == 0),
        padding: 0,
    }
}

/// Offsets in an FXSAVE image (SDM vol. 1, table 10-2).
mod image {
    pub(super) const CONTROL: usize = 0;
    pub(super) const STATUS: usize = 2;
    pub(super) const TAGS: usize = 4;
    pub(super) const MXCSR: usize = 24;
    pub(super) const REGISTERS: usize = 32;
    pub(super) const VECTORS: usize = 160;
}

fn load_fpu(fpu: &kvm_fpu, state: &mut CpuState) {
    let bytes = state::fxsave_image_mut(state);
    bytes[image::CONTROL..][..2].copy_from_slice(&fpu.fcw.to_le_bytes());
    bytes[image::STATUS..][..2].copy_from_slice(&fpu.fsw.to_le_bytes());
    bytes[image::TAGS] = fpu.ftwx;
    bytes[image::MXCSR..][..4].copy_from_slice(&fpu.mxcsr.to_le_bytes());
    bytes[image::REGISTERS..][..128].as_chunks_mut().0.copy_from_slice(&fpu.fpr);
    bytes[image::VECTORS..][..256].as_chunks_mut().0.copy_from_slice(&fpu.xmm);
}

fn stored_fpu(state: &CpuState) -> kvm_fpu {
    let bytes = state::fxsave_image(state);
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let mut fpu = kvm_fpu {
        fcw: half(image::CONTROL),
        fsw: half(image::STATUS),
        ftwx: bytes[image::TAGS],
        mxcsr: u32::from(half(image::MXCSR)) | u32::from(half(image::MXCSR + 2)) << 16,
        ..Default::default()
    };
    fpu.fpr.copy_from_slice(bytes[image::REGISTERS..][..128].as_chunks().0);
    fpu.xmm.copy_from_slice(bytes[image::VECTORS..][..256].as_chunks().0);
    fpu
}

fn entry(index: u32, data: u64) -> kvm_msr_entry {
    kvm_msr_entry { index, data, ..Default::default() }
}

/// Registers that a host's KVM does not have are left alone.
fn load_msrs(vcpu: &VcpuFd, state: &mut CpuState) {
    for &(index, word) in MSRS {
        if let Ok(mut list) = Msrs::from_entries(&[entry(index, 0)])
            && vcpu.get_msrs(&mut list) == Ok(1)
        {
            word.set(state, list.as_slice()[0].data);
        }
    }
}

fn store_msrs(vcpu: &VcpuFd, state: &CpuState) {
    for &(index, word) in MSRS {
        if let Ok(list) = Msrs::from_entries(&[entry(index, word.get(state))]) {
            let _ = vcpu.set_msrs(&list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_survive_the_round_trip() {
        let mut before = CpuState::new();
        state::reset_user64(&mut before);
        for n in 0..16 {
            before.set(&AMD64, gpr(n), 0x1111_1111_1111_1111 * u64::from(n));
        }
        for n in 0..6 {
            before.set(&AMD64, RegId(ES.0 + n), u64::from(8 * n + 3));
            before.set(&AMD64, base_row(n), u64::from(n) << 20);
            before.set(&AMD64, RegId(ES_LIMIT.0 + n), 0xffff_ffff - u64::from(n));
            before.set(&AMD64, RegId(ES_ATTR.0 + n), 0x00c0_f300);
        }
        (0..4).for_each(|n| word::TR.at(n).set(&mut before, 0x8b00 + u64::from(n)));
        word::IDTR_BASE.set(&mut before, 0xffff_8000_0000_0000);
        word::CR3.set(&mut before, 0x1000);
        state::fxsave_image_mut(&mut before)[200] = 7;
        before.set_pc(0x0010_1234);
        let mut after = CpuState::new();
        load_system(&stored_system(&before, kvm_sregs::default(), 0, 0), &mut after);
        load_integers(&stored_integers(&before), &mut after);
        load_fpu(&stored_fpu(&before), &mut after);
        assert_eq!(after.pc(), before.pc());
        for (n, def) in AMD64.regs.iter().enumerate() {
            let reg = RegId(n as u16);
            assert_eq!(after.get_wide(&AMD64, reg), before.get_wide(&AMD64, reg), "{}", def.name);
        }
        for (name, first, count) in word::WORDS.iter().filter(|(name, ..)| ["tr", "idtr_base", "cr3"].contains(name)) {
            for n in 0..*count {
                assert_eq!(first.at(n).get(&after), first.at(n).get(&before), "{name}");
            }
        }
    }
}
