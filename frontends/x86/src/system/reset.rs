//! Power-on, INIT and start-up (SDM vol. 3, chapter 9).

use super::Machine;
use super::cpu::{Cpu, cr0};
use super::debug::{DR6_FIXED, DR7_FIXED};
use super::descriptor::{Segment, number};
use crate::state::{self, AMD64, CR0, EDX, FXSAVE_BYTES, eflag, word};
use isamorph_ir::{CpuState, Flush, GUEST_OFFSET, HelperCx, Memory, RegId};

/// Memory types after reset (SDM vol. 3, 11.12.4).
const PAT: u64 = 0x0007_0406_0007_0406;
/// IA32_MISC_ENABLE: fast strings.
const MISC_ENABLE: u64 = 1;
/// Where system-management memory is.
const SMBASE: u64 = 0x3_0000;
/// Attributes after reset: code, data, local descriptor table, busy task state.
const CODE: u32 = 0x9b00;
const DATA: u32 = 0x9300;
const LDT: u32 = 0x8200;
const TASK: u32 = 0x8b00;

/// What INIT leaves alone (SDM vol. 3, table 9-1) besides the floating-point registers: MSRs other than EFER, what the
/// processor is, what is connected to it.
const KEPT_BY_INIT: &[word::Word] = &[
    word::XCR0,
    word::STAR,
    word::LSTAR,
    word::CSTAR,
    word::FMASK,
    word::KERNEL_GS_BASE,
    word::SYSENTER_CS,
    word::SYSENTER_ESP,
    word::SYSENTER_EIP,
    word::PAT,
    word::TSC_AUX,
    word::TSC_OFFSET,
    word::TSC_ADJUST,
    word::MISC_ENABLE,
    word::FEATURE_CONTROL,
    word::SPECULATION,
    word::MTRR_DEFAULT,
    word::MTRR_FIXED,
    word::MTRR_VARIABLE,
    word::MCG_STATUS,
    word::MCG_CTL,
    word::MC_BANKS,
    word::SMBASE,
    word::LINE_20_LOW,
];

impl Machine {
    /// The state after power-on.
    pub(super) fn power_on(&self, state: &mut CpuState, index: u32) {
        state.bytes_mut(GUEST_OFFSET, (AMD64.size - GUEST_OFFSET) as usize).fill(0);
        state::reset_float(state);
        state::set_eflags(state, eflag::FIXED);
        state.set(&AMD64, CR0, cr0::CD | cr0::NW | cr0::ET);
        state.set(&AMD64, EDX, self.model.signature.into());
        for n in 0..6 {
            let segment = Segment { selector: 0, base: 0, limit: 0xffff, attr: DATA };
            set_segment(state, n, segment);
        }
        set_segment(state, number::CS, Segment { selector: 0xf000, base: 0xffff_0000, limit: 0xffff, attr: CODE });
        state.set_pc(0xffff_fff0);
        let [low, high] = self.model.features.words();
        let topology = self.topology;
        for (word, value) in [
            (word::GDTR_LIMIT, 0xffff),
            (word::IDTR_LIMIT, 0xffff),
            (word::LDTR_LIMIT, 0xffff),
            (word::LDTR_ATTR, LDT.into()),
            (word::TR_LIMIT, 0xffff),
            (word::TR_ATTR, TASK.into()),
            (word::DR6, DR6_FIXED),
            (word::DR7, DR7_FIXED),
            (word::PAT, PAT),
            (word::MISC_ENABLE, MISC_ENABLE),
            (word::SMBASE, SMBASE),
            (word::XCR0, 1),
            (word::MCG_CTL, u64::MAX),
            (word::INDEX, topology.apic_id(index).into()),
            (word::TOPOLOGY, topology.word()),
            (word::MODEL, self.model_index.into()),
            (word::FEATURES, low),
            (word::FEATURES.at(1), high),
        ] {
            word.set(state, value);
        }
        for bank in 0..10 {
            word::MC_BANKS.at(4 * bank).set(state, u64::MAX);
        }
    }
    /// INIT; `boot` is for the processor that starts the machine, the others wait.
    pub(super) fn init(&self, cx: &mut HelperCx<'_>, boot: bool) {
        let index = word::INDEX.get(cx.state);
        let caches = cx.state.get(&AMD64, CR0) & (cr0::CD | cr0::NW);
        let image = state::fxsave_image(cx.state).to_vec();
        let kept: Vec<_> = KEPT_BY_INIT
            .iter()
            .flat_map(|first| {
                let count = word::WORDS.iter().find(|(_, word, _)| word == first).map_or(1, |(.., count)| *count);
                (0..count).map(|n| first.at(n)).collect::<Vec<_>>()
            })
            .map(|word| (word, word.get(cx.state)))
            .collect();
        self.power_on(cx.state, 0);
        word::INDEX.set(cx.state, index);
        kept.into_iter().for_each(|(word, value)| word.set(cx.state, value));
        state::fxsave_image_mut(cx.state)[..FXSAVE_BYTES].copy_from_slice(&image);
        cx.state.set(&AMD64, CR0, caches | cr0::ET);
        word::WAITS_FOR_START.set(cx.state, u64::from(!boot));
        flush(cx.mem, cx.state);
    }
}

fn flush(mem: &dyn Memory, state: &mut CpuState) {
    if let Some(system) = mem.system() {
        system.flush(state, Flush::All);
    }
}

fn set_segment(state: &mut CpuState, n: u16, segment: Segment) {
    let row = |first: RegId| RegId(first.0 + n);
    state.set(&AMD64, row(state::ES), segment.selector);
    state.set(&AMD64, super::descriptor::base_row(n), segment.base);
    state.set(&AMD64, row(state::ES_LIMIT), segment.limit.into());
    state.set(&AMD64, row(state::ES_ATTR), segment.attr.into());
}

impl Cpu<'_> {
    /// The start-up signal: its vector is the page where a processor that waits begins.
    pub(super) fn start(&mut self, vector: u8) {
        if word::WAITS_FOR_START.get(self.state) == 0 {
            return;
        }
        word::WAITS_FOR_START.set(self.state, 0);
        self.load_paragraph(number::CS, u64::from(vector) << 8);
        self.set_eip(0);
        self.flush(Flush::All);
    }
}
