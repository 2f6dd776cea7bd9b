//! The op table: the one list of what the IR can say. Everything else about an op is derived from its row.
//!
//! A row reads `Name "text" [operands] attribute immediate -> result | effects; documentation`.
//! To add an op: add a row here, a function in the interpreter, a lowering in each back end and a filetest
//! (`docs/how-to/add-an-ir-op.md`).

// tidy: table
use crate::types::{Type, named_enum};
use bitflags::bitflags;

/// What an operand of an op must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arg {
    /// A value of the instruction's type.
    T,
    /// A flags bundle.
    Fl,
    /// A flags bundle, or nothing when the op cannot leave the old flags in place (constant non-zero count).
    OptFl,
    /// An `i8`.
    I8,
    /// An `i32`.
    I32,
    /// A 128-bit vector.
    V128,
    /// A 64-bit vector.
    V64,
    /// An integer of half the width of the instruction's type.
    Half,
    /// A value of any type; the verifier checks it against the row's special rule.
    Any,
}

impl Arg {
    /// The type that the operand must have in an instruction of type `ty`; nothing if the row's special rule decides.
    pub const fn expected(self, ty: Type) -> Option<Type> {
        match self {
            Arg::T => Some(ty),
            Arg::Fl | Arg::OptFl => Some(Type::Flags),
            Arg::I8 => Some(Type::I8),
            Arg::I32 => Some(Type::I32),
            Arg::V128 => Some(Type::V128),
            Arg::V64 => Some(Type::V64),
            Arg::Half => ty.half(),
            Arg::Any => None,
        }
    }
}

/// What the attribute byte of an op holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttrKind {
    /// Nothing.
    Na,
    /// A [`crate::Cond`].
    Cc,
    /// A [`crate::Lane`].
    La,
    /// A [`crate::MemAttr`].
    Me,
    /// A [`crate::FlagSet`] in attribute form.
    Fs,
    /// An [`crate::AtomicOp`].
    At,
    /// An [`X87Op`].
    X8,
}

/// What the immediate of an op holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImmKind {
    /// Nothing.
    No,
    /// A small number: lane index, shuffle selector, bit offset.
    U8,
    /// A [`crate::FpMode`]: rules of a floating-point op and its selector. Left out in the text form when 0.
    Fp,
    /// An index into [`crate::Region::addrs`].
    Addr,
    /// A [`crate::RegId`].
    Reg,
    /// An index into [`crate::Region::exits`].
    Exit,
    /// A [`crate::HelperId`].
    Helper,
    /// An index into [`crate::Region::blocks`].
    Block,
    /// An index into [`crate::Region::insns`].
    Insn,
}

/// What an op defines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Res {
    /// Nothing.
    No,
    /// A value of the instruction's type.
    T,
    /// A flags bundle.
    Fl,
}

bitflags! {
    /// What an op does besides computing its result.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Effects: u16 {
        /// Reads guest memory.
        const LOAD = 1;
        /// Writes guest memory.
        const STORE = 2;
        /// May raise a guest exception; the guest's state must be recoverable here.
        const FAULT = 4;
        /// Reads guest registers other than through its operands.
        const READ = 8;
        /// Writes guest registers other than through its result.
        const WRITE = 16;
        /// May leave the region.
        const EXIT = 32;
        /// Ends its block.
        const END = 64;
        /// The result has a `flags` projection.
        const FLAGS = 128;
        /// The result has a `second` projection.
        const SECOND = 256;
        /// Depends on the floating-point control register and sets its sticky bits.
        const FPENV = 512;
    }
}

impl Effects {
    /// Whether an instruction must stay even when nobody uses its result.
    pub fn is_pinned(self) -> bool {
        self.intersects(Self::STORE | Self::FAULT | Self::WRITE | Self::EXIT | Self::END | Self::FPENV)
    }
}

/// The facts of one op.
#[derive(Debug)]
pub struct OpInfo {
    /// Text name.
    pub text: &'static str,
    /// Operands in order.
    pub args: &'static [Arg],
    /// Attribute byte.
    pub attr: AttrKind,
    /// Immediate.
    pub imm: ImmKind,
    /// Result.
    pub res: Res,
    /// Effects.
    pub effects: Effects,
    /// Meaning, in a sentence.
    pub doc: &'static str,
}

/// Calls `$m!` with every row of the op table.
#[macro_export]
macro_rules! for_each_op {
    ($m:path) => { $m! {
        // ---- state and structure
        Insn "insn" [] Na Insn -> No | ; "Start of a guest instruction; recovery metadata refers to it.";
        Get "get" [] Na Reg -> T | READ; "Reads a guest register or local.";
        Set "set" [Any] Na Reg -> No | WRITE; "Writes a guest register or local.";
        Flags "flags" [Any] Na No -> Fl | ; "The flags that an arithmetic op defined.";
        FlagsKeep "flagsk" [Any Fl] Fs No -> Fl | ; "The flags of the first operand, but the named bits from the second.";
        Second "second" [Any] Na No -> T | ; "The second result of a wide multiply (high half) or a division (remainder).";
        // ---- integer arithmetic (flags as x86 defines them; SDM vol. 2)
        Add "add" [T T] Na No -> T | FLAGS; "Sum.";
        Sub "sub" [T T] Na No -> T | FLAGS; "Difference; carry is the borrow.";
        Adc "adc" [T T Fl] Na No -> T | FLAGS; "Sum plus carry.";
        Sbb "sbb" [T T Fl] Na No -> T | FLAGS; "Difference minus carry.";
        And "and" [T T] Na No -> T | FLAGS; "Bitwise and; C = O = 0, A undefined.";
        Or "or" [T T] Na No -> T | FLAGS; "Bitwise or; C = O = 0, A undefined.";
        Xor "xor" [T T] Na No -> T | FLAGS; "Bitwise exclusive or; C = O = 0, A undefined.";
        Neg "neg" [T] Na No -> T | FLAGS; "Two's complement; flags as 0 − a.";
        Not "not" [T] Na No -> T | ; "Bitwise complement; no flags.";
        Mul "mul" [T T] Na No -> T | FLAGS; "Low half of the product; C = O = signed overflow, others undefined. i16 … i64.";
        MulU "mulu" [T T] Na No -> T | FLAGS SECOND; "Unsigned wide product: low half, `second` is the high half; C = O = high half non-zero.";
        MulS "muls" [T T] Na No -> T | FLAGS SECOND; "Signed wide product: low half, `second` is the high half; C = O = signed overflow.";
        DivU "divu" [T T T] Na No -> T | FAULT SECOND; "(hi:lo) / d unsigned; `second` is the remainder. Divide error on 0 or overflow.";
        DivS "divs" [T T T] Na No -> T | FAULT SECOND; "(hi:lo) / d signed; `second` is the remainder. Divide error on 0 or overflow.";
        QuotU "quotu" [T T] Na No -> T | ; "Unsigned quotient; 0 if the divisor is 0. i32, i64.";
        QuotS "quots" [T T] Na No -> T | ; "Signed quotient, truncated; 0 if the divisor is 0; overflow wraps. i32, i64.";
        CmpIf "cmpif" [T T Fl] Cc U8 -> T | FLAGS; "Flags of a − b if the condition holds, else those in the immediate (attribute form); A and P undefined, so is the result. i32, i64.";
        CmnIf "cmnif" [T T Fl] Cc U8 -> T | FLAGS; "Likewise with the flags of a + b.";
        // ---- shifts: the count is masked to 5 bits (6 for i64); a zero count leaves the flags operand
        Shl "shl" [T I8 OptFl] Na No -> T | FLAGS; "Shift left; SDM SAL.";
        Shr "shr" [T I8 OptFl] Na No -> T | FLAGS; "Logical shift right.";
        Sar "sar" [T I8 OptFl] Na No -> T | FLAGS; "Arithmetic shift right.";
        Rol "rol" [T I8 OptFl] Na No -> T | FLAGS; "Rotate left; only C and O change.";
        Ror "ror" [T I8 OptFl] Na No -> T | FLAGS; "Rotate right; only C and O change.";
        Rcl "rcl" [T I8 Fl] Na No -> T | FLAGS; "Rotate left through carry; only C and O change.";
        Rcr "rcr" [T I8 Fl] Na No -> T | FLAGS; "Rotate right through carry; only C and O change.";
        Shld "shld" [T T I8 OptFl] Na No -> T | FLAGS; "Shift left, filled from the second operand's top.";
        Shrd "shrd" [T T I8 OptFl] Na No -> T | FLAGS; "Shift right, filled from the second operand's bottom.";
        // ---- bits
        Bswap "bswap" [T] Na No -> T | ; "Byte swap; i32 and i64.";
        BitRev "bitrev" [T] Na No -> T | ; "Bits in reverse order; i32 and i64.";
        Crc "crc" [I32 Any] Na U8 -> T | ; "Cyclic redundancy check of the second operand's bytes added to the first; 0 = Castagnoli's polynomial, 1 = ISO 3309's; bits reflected, no inversions. i32.";
        Bsf "bsf" [T T] Na No -> T | FLAGS; "Index of the lowest set bit, or the second operand if none; Z = none.";
        Bsr "bsr" [T T] Na No -> T | FLAGS; "Index of the highest set bit, or the second operand if none; Z = none.";
        Popcnt "popcnt" [T] Na No -> T | FLAGS; "Number of set bits; Z = (a = 0), the others 0.";
        Lzcnt "lzcnt" [T] Na No -> T | FLAGS; "Leading zeros, the width if a = 0; C = (a = 0), Z = (result = 0).";
        Tzcnt "tzcnt" [T] Na No -> T | FLAGS; "Trailing zeros, the width if a = 0; C = (a = 0), Z = (result = 0).";
        Bt "bt" [T T Fl] Na No -> T | FLAGS; "The first operand unchanged; C = its bit b (mod width), other flags kept.";
        Bts "bts" [T T Fl] Na No -> T | FLAGS; "Sets bit b; C = its old value, other flags kept.";
        Btr "btr" [T T Fl] Na No -> T | FLAGS; "Clears bit b; C = its old value, other flags kept.";
        Btc "btc" [T T Fl] Na No -> T | FLAGS; "Flips bit b; C = its old value, other flags kept.";
        // ---- width changes
        Zext "zext" [Any] Na No -> T | ; "Zero-extends a narrower integer.";
        Sext "sext" [Any] Na No -> T | ; "Sign-extends a narrower integer.";
        Trunc "trunc" [Any] Na No -> T | ; "Low bits of a wider integer.";
        Field "field" [Any] Na U8 -> T | ; "Bits of a wider integer from the given bit offset (8, 16 or 32) on.";
        Ins "ins" [T Any] Na U8 -> T | ; "The first operand with the narrower second one put in at the given bit offset.";
        Concat "concat" [Half Half] Na No -> T | ; "Low half, high half.";
        // ---- conditions
        SetCc "setcc" [Fl] Cc No -> T | ; "1 if the condition holds, else 0; i8.";
        Select "select" [Fl T T] Cc No -> T | ; "The second operand if the condition holds, else the third.";
        FlagsBits "fbits" [Fl] Na No -> T | ; "The flags as EFLAGS bits; i32.";
        BitsFlags "bitsf" [I32] Na No -> Fl | ; "Flags from EFLAGS bits; other bits are ignored.";
        FlagsSet "fset" [Fl] Fs No -> Fl | ; "Sets the named flags.";
        FlagsClear "fclr" [Fl] Fs No -> Fl | ; "Clears the named flags.";
        FlagsNot "fnot" [Fl] Fs No -> Fl | ; "Complements the named flags.";
        // ---- memory
        Load "load" [] Me Addr -> T | LOAD FAULT; "Loads and extends to the instruction's type.";
        Store "store" [T] Me Addr -> No | STORE FAULT; "Stores the low bytes of the operand.";
        Lea "lea" [] Na Addr -> T | ; "The address itself, with its segment base, modulo the instruction's type.";
        Rmw "rmw" [T] At Addr -> T | LOAD STORE FAULT FLAGS; "Atomic `mem = mem op v`; the result is the new value.";
        Fetch "fetch" [T] At Addr -> T | LOAD STORE FAULT FLAGS; "Atomic `mem = mem op v`; the result is the old value.";
        Cas "cas" [T T] Na Addr -> T | LOAD STORE FAULT FLAGS; "If mem = expected (1st) then mem = new (2nd), atomically; result: old; flags of expected − old. An i128 must be aligned and defines only Z.";
        Fence "fence" [] Na No -> No | STORE; "Full memory barrier.";
        // ---- control
        ExitIf "exitif" [Fl] Cc Exit -> No | EXIT; "Leaves through the exit if the condition holds.";
        Exit "exit" [] Na Exit -> No | EXIT END; "Leaves through the exit.";
        Jump "jump" [] Na Block -> No | END; "Goes to the block.";
        Branch "branch" [Fl] Cc Block -> No | END; "Goes to the block if the condition holds, else to the next block in order.";
        Call "call" [Any Any Any] Na Helper -> T | LOAD STORE FAULT READ WRITE; "Calls a helper with up to three integers.";
        // ---- vectors: integer lanes
        VAdd "vadd" [T T] La No -> T | ; "Lane-wise sum.";
        VSub "vsub" [T T] La No -> T | ; "Lane-wise difference.";
        VAddSatS "vadds" [T T] La No -> T | ; "Signed saturating sum.";
        VAddSatU "vaddu" [T T] La No -> T | ; "Unsigned saturating sum.";
        VSubSatS "vsubs" [T T] La No -> T | ; "Signed saturating difference.";
        VSubSatU "vsubu" [T T] La No -> T | ; "Unsigned saturating difference.";
        VMulLo "vmullo" [T T] La No -> T | ; "Low half of the lane product.";
        VMulHiS "vmulhs" [T T] La No -> T | ; "High half of the signed lane product.";
        VMulHiU "vmulhu" [T T] La No -> T | ; "High half of the unsigned lane product.";
        VMulWideU "vmulwu" [T T] La No -> T | ; "Unsigned products of the even lanes, in lanes of twice the width.";
        VMulAddS "vmadds" [T T] La No -> T | ; "Signed products of lanes, adjacent pairs added, in lanes of twice the width.";
        VAvgU "vavgu" [T T] La No -> T | ; "Unsigned average, rounded up.";
        VMinS "vmins" [T T] La No -> T | ; "Signed minimum.";
        VMinU "vminu" [T T] La No -> T | ; "Unsigned minimum.";
        VMaxS "vmaxs" [T T] La No -> T | ; "Signed maximum.";
        VMaxU "vmaxu" [T T] La No -> T | ; "Unsigned maximum.";
        VCmpEq "vceq" [T T] La No -> T | ; "All ones where equal.";
        VCmpGtS "vcgts" [T T] La No -> T | ; "All ones where signed greater.";
        VSadU "vsadu" [T T] Na No -> T | ; "Sum of absolute byte differences in each 64-bit lane.";
        VAnd "vand" [T T] Na No -> T | ; "Bitwise and.";
        VAndNot "vandn" [T T] Na No -> T | ; "Complement of the first and the second.";
        VOr "vor" [T T] Na No -> T | ; "Bitwise or.";
        VXor "vxor" [T T] Na No -> T | ; "Bitwise exclusive or.";
        VShl "vshl" [T T] La No -> T | ; "Shifts every lane left by the low 64 bits of the second operand; too far gives 0.";
        VShr "vshr" [T T] La No -> T | ; "Logical right shift, likewise.";
        VSar "vsar" [T T] La No -> T | ; "Arithmetic right shift, likewise; too far gives the sign.";
        VShlImm "vshli" [T] La U8 -> T | ; "Shifts every lane left.";
        VShrImm "vshri" [T] La U8 -> T | ; "Shifts every lane right.";
        VSarImm "vsari" [T] La U8 -> T | ; "Shifts every lane right, arithmetically.";
        VShlBytes "vshlb" [T] Na U8 -> T | ; "Shifts the whole vector left by bytes.";
        VShrBytes "vshrb" [T] Na U8 -> T | ; "Shifts the whole vector right by bytes.";
        VPackS "vpacks" [T T] La No -> T | ; "Narrows lanes (the named ones) of first then second with signed saturation.";
        VPackU "vpacku" [T T] La No -> T | ; "Narrows signed lanes of first then second with unsigned saturation.";
        VZipLo "vziplo" [T T] La No -> T | ; "Interleaves the low halves.";
        VZipHi "vziphi" [T T] La No -> T | ; "Interleaves the high halves.";
        VShuffle "vshuf" [T] La U8 -> T | ; "Selects lanes by 2-bit fields: w = all four of a v128, h of a v64 = all four.";
        VShuffleLo "vshuflo" [T] Na U8 -> T | ; "Selects among the low four 16-bit lanes, keeps the high ones.";
        VShuffleHi "vshufhi" [T] Na U8 -> T | ; "Selects among the high four 16-bit lanes, keeps the low ones.";
        VShuffle2 "vshuf2" [T T] La U8 -> T | ; "Low half of the lanes from the first operand, high half from the second, by selector fields (ps, pd).";
        VMoveMask "vmovmsk" [Any] La No -> T | ; "Sign bits of the lanes, lane 0 in bit 0.";
        VExtract "vext" [Any] La U8 -> T | ; "Lane as an integer, zero-extended.";
        VInsert "vins" [T Any] La U8 -> T | ; "Vector with one lane replaced by the low bits of an integer.";
        VMoveLane "vmovl" [T T] La U8 -> T | ; "First operand with one lane (by selector: bits 0-3 to, 4-7 from) replaced from the second.";
        VFromInt "vfromi" [Any] Na No -> T | ; "Integer in the low bits, zero above.";
        VToInt "vtoi" [Any] Na No -> T | ; "Low bits as an integer.";
        VResize "vresize" [Any] Na No -> T | ; "Low bits of a vector as a vector of another width, zero above.";
        VZeroUpper "vzup" [T] Na No -> T | ; "The low 64 bits, zero above.";
        VCmpGtU "vcgtu" [T T] La No -> T | ; "All ones where unsigned greater.";
        VAbs "vabs" [T] La No -> T | ; "Absolute value; the most negative one stays.";
        VPopcnt "vpopcnt" [T] La No -> T | ; "Number of set bits of each byte.";
        VLzcnt "vlzcnt" [T] La No -> T | ; "Leading zeros of each lane, its width if 0.";
        VShlLanes "vshll" [T T] La No -> T | ; "Shifts each lane left by the unsigned lane of the second operand; too far gives 0.";
        VShrLanes "vshrl" [T T] La No -> T | ; "Logical right shift, likewise.";
        VSarLanes "vsarl" [T T] La No -> T | ; "Arithmetic right shift, likewise; too far gives the sign.";
        VMulWideS "vmulws" [T T] La No -> T | ; "Signed products of the even lanes, in lanes of twice the width.";
        VMulHiRound "vmulhr" [T T] La No -> T | ; "(2ab + 2^(w−1)) >> w of signed lanes of width w, wrapping (SDM PMULHRSW).";
        VMulAddUS "vmaddus" [T T] La No -> T | ; "Unsigned lane of the first times signed lane of the second, adjacent pairs added with signed saturation, in lanes of twice the width.";
        VPolyMul "vpmul" [T T] La No -> T | ; "Low half of the product of lanes as polynomials over {0, 1}.";
        VPolyMulWide "vpmulw" [T T] La No -> T | ; "Products of the low half's lanes as polynomials over {0, 1}, in lanes of twice the width.";
        VPairAdd "vpadd" [T T] La No -> T | ; "Sums of adjacent pairs of lanes, of the first operand then of the second.";
        VWidenS "vwids" [T] La No -> T | ; "Low half of the lanes (the named ones), sign-extended to twice their width.";
        VWidenU "vwidu" [T] La No -> T | ; "Low half of the lanes (the named ones), zero-extended to twice their width.";
        VNarrow "vnarrow" [T T] La No -> T | ; "Low halves of the lanes (the named ones) of first then second.";
        VShufBytes "vshufb" [T T] Na No -> T | ; "Byte i is the first operand's byte whose number is in the low bits of the second's byte i, or 0 if that has its top bit set.";
        VAlign "valign" [T T] Na U8 -> T | ; "Bytes from the given one on of the first operand followed by the second.";
        VSelect "vsel" [T T T] Na No -> T | ; "Bits of the second operand where the first has ones, of the third elsewhere.";
        VBlend "vblend" [T T T] La No -> T | ; "Lanes of the second operand where the first's sign bit is set, of the third elsewhere.";
        VDup "vdup" [Any] La No -> T | ; "An integer's low bits in every lane.";
        VDupLane "vdupl" [T] La U8 -> T | ; "One lane in every lane.";
        VTest "vtest" [V128 V128] Na No -> T | FLAGS; "Z = (a & b = 0), C = (~a & b = 0), other flags 0; result undefined i32.";
        AesEnc "aesenc" [T T] Na No -> T | ; "One round of AES encryption (SDM AESENC).";
        AesEncLast "aesenclast" [T T] Na No -> T | ; "The last round of AES encryption.";
        AesDec "aesdec" [T T] Na No -> T | ; "One round of AES decryption by the equivalent inverse cipher.";
        AesDecLast "aesdeclast" [T T] Na No -> T | ; "The last round of AES decryption.";
        AesImc "aesimc" [T] Na No -> T | ; "Inverse mix-columns.";
        AesKeygen "aeskey" [T] Na U8 -> T | ; "Assists AES key expansion with a round constant (SDM AESKEYGENASSIST).";
        ClMul "clmul" [T T] Na U8 -> T | ; "Carry-less product of two 64-bit halves; bit 0 selects the first operand's, bit 4 the second's.";
        // ---- floating point on lanes (rounding, flushing and NaN rules of the guest's control register)
        FAdd "fadd" [T T] La Fp -> T | FPENV; "Sum.";
        FSub "fsub" [T T] La Fp -> T | FPENV; "Difference.";
        FMul "fmul" [T T] La Fp -> T | FPENV; "Product.";
        FDiv "fdiv" [T T] La Fp -> T | FPENV; "Quotient.";
        FMin "fmin" [T T] La Fp -> T | FPENV; "Minimum. x86 rule: the second operand if either is a NaN or both are zero. Arm rules: a NaN if either is one; −0 is below +0.";
        FMax "fmax" [T T] La Fp -> T | FPENV; "Maximum, likewise.";
        FSqrt "fsqrt" [T T] La Fp -> T | FPENV; "Square root of the second operand (scalar lanes: the rest from the first).";
        FRcp "frcp" [T T] La No -> T | ; "Approximate reciprocal of the second operand as the host gives it.";
        FRsqrt "frsqrt" [T T] La No -> T | ; "Approximate reciprocal square root of the second operand as the host gives it.";
        FCmpMask "fcmpm" [T T] La Fp -> T | FPENV; "All ones where the predicate (selector) holds: 0 eq 1 lt 2 le 3 unord 4 ne 5 nlt 6 nle 7 ord.";
        FCmpQuiet "fcmpq" [V128 V128] La Fp -> T | FPENV FLAGS; "Compares lane 0 (ss, sd) into Z P C, other flags 0; signals only for SNaN. Result: undefined i32.";
        FCmpSignal "fcmps" [V128 V128] La Fp -> T | FPENV FLAGS; "As `fcmpq`, but signals for any NaN.";
        FCvtLane "fcvt" [T T] La Fp -> T | FPENV; "Lane 0 of the second operand, in the named format, to the other format; the rest from the first.";
        FCvtPacked "fcvtp" [T] La Fp -> T | FPENV; "ps: two low singles to doubles; pd: two doubles to singles, zero above.";
        FFromInt "ffromi" [V128 Any] La Fp -> T | FPENV; "Signed integer (i32, i64) to lane 0; the rest from the first.";
        FToInt "ftoi" [V128] La Fp -> T | FPENV; "Lane 0 to a signed integer (i32, i64) in the current rounding mode.";
        FToIntTrunc "ftoit" [V128] La Fp -> T | FPENV; "Lane 0 to a signed integer (i32, i64), truncated.";
        FFromIntPacked "ffromip" [T] La Fp -> T | FPENV; "i32 lanes to ps (four) or pd (the two low ones).";
        FToIntPacked "ftoip" [T] La Fp -> T | FPENV; "ps or pd lanes to i32 lanes in the current rounding mode; pd: zero above.";
        FToIntPackedTrunc "ftoipt" [T] La Fp -> T | FPENV; "ps or pd lanes to i32 lanes, truncated; pd: zero above.";
        FMinNum "fminn" [T T] La Fp -> T | FPENV; "Minimum, but the other operand if just one is a quiet NaN (IEEE 754-2008 minNum). Arm rules.";
        FMaxNum "fmaxn" [T T] La Fp -> T | FPENV; "Maximum, likewise.";
        FMulAdd "fma" [T T T] La Fp -> T | FPENV; "a·b + c with one rounding; scalar lanes: the rest from the third.";
        FPairAdd "fpadd" [T T] La Fp -> T | FPENV; "Sums of adjacent pairs of lanes, of the first operand then of the second.";
        FAddSub "faddsub" [T T] La Fp -> T | FPENV; "Differences in the even lanes, sums in the odd ones.";
        FRoundInt "frint" [T T] La Fp -> T | FPENV; "The second operand rounded to an integral value (selector: see `FpMode`; scalar lanes: the rest from the first).";
        FCmpOrder "fcmpo" [V128 V128] La Fp -> T | FPENV FLAGS; "Compares lane 0 (ss, sd); flags as of an integer comparison (Z, or S and C for less), O alone if unordered. Selector 1 signals for any NaN. Result: undefined i32.";
        FToIntSatS "ftois" [T] La Fp -> T | FPENV; "Lanes to signed integers of their width, rounded by the selector; saturates, a NaN gives 0. Scalar lanes: zero above.";
        FToIntSatU "ftoiu" [T] La Fp -> T | FPENV; "Likewise to unsigned integers.";
        FLaneToIntS "fltois" [V128] La Fp -> T | FPENV; "Lane 0 to a signed integer (i32, i64), rounded by the selector; saturates, a NaN gives 0.";
        FLaneToIntU "fltoiu" [V128] La Fp -> T | FPENV; "Likewise to an unsigned integer.";
        FFromIntS "ffroms" [T] La Fp -> T | FPENV; "Signed integers of the lanes' width to floating point. Scalar lanes: zero above.";
        FFromIntU "ffromu" [T] La Fp -> T | FPENV; "Likewise from unsigned integers.";
        FHalfToSingle "fh2s" [T] La Fp -> T | FPENV; "ps: four low half-precision numbers to singles; ss: the lowest, zero above. Selector 1: a signalling NaN stays one, no denormal is flushed.";
        FSingleToHalf "fs2h" [T] La Fp -> T | FPENV; "ps: singles to half precision in the low 64 bits, zero above; ss: the lowest, zero above.";
        // ---- the x87 unit: a register stack that is guest state; the kind is the attribute
        X87 "x87" [] X8 U8 -> No | READ WRITE FAULT FPENV; "Register-stack operation on ST(0) and ST(imm).";
        X87Mem "x87m" [] X8 Addr -> No | READ WRITE LOAD STORE FAULT FPENV; "Operation with a memory operand.";
        X87Flags "x87f" [] X8 U8 -> T | READ WRITE FAULT FPENV FLAGS; "Comparison into Z P C, other flags 0; result undefined i32.";
        X87Status "x87s" [] Na No -> T | READ; "The status word; i16.";
        X87Cmov "x87cmov" [Fl] Cc U8 -> No | READ WRITE FAULT FPENV; "ST(0) = ST(imm) if the condition holds.";
    } };
}

macro_rules! define_ops {
    ($($name:ident $text:literal [$($arg:ident)*] $attr:ident $imm:ident -> $res:ident | $($eff:ident)*; $doc:literal;)*) => {
        named_enum! {
            /// What an instruction does; the rows of the op table.
            pub enum Op { $(#[doc = $doc] $name = $text),* }
        }
        /// The facts of every op, indexed by `Op as usize`.
        pub static OPS: &[OpInfo] = &[$(OpInfo {
            text: $text, args: &[$(Arg::$arg),*], attr: AttrKind::$attr, imm: ImmKind::$imm, res: Res::$res,
            effects: Effects::empty()$(.union(Effects::$eff))*, doc: $doc,
        }),*];
    };
}
for_each_op!(define_ops);

impl Op {
    /// The row of this op.
    pub fn info(self) -> &'static OpInfo {
        &OPS[self as usize]
    }
    /// The effects of this op.
    pub fn effects(self) -> Effects {
        self.info().effects
    }
}

/// Calls `$m!` with every x87 operation: name, text, and its encoding (SDM vol. 2, appendix B): register forms as the
/// two opcode bytes with ST(0), memory forms as opcode byte, `/digit` and operand bytes.
#[macro_export]
macro_rules! for_each_x87 {
    ($m:path) => { $m! {
        reg {
            AddSt0 "fadd.st0" 0xd8 0xc0; MulSt0 "fmul.st0" 0xd8 0xc8; ComSt "fcom" 0xd8 0xd0; ComPop "fcomp" 0xd8 0xd8;
            SubSt0 "fsub.st0" 0xd8 0xe0; SubRSt0 "fsubr.st0" 0xd8 0xe8; DivSt0 "fdiv.st0" 0xd8 0xf0; DivRSt0 "fdivr.st0" 0xd8 0xf8;
            Ld "fld" 0xd9 0xc0; Xch "fxch" 0xd9 0xc8; Nop "fnop" 0xd9 0xd0;
            Chs "fchs" 0xd9 0xe0; Abs "fabs" 0xd9 0xe1; Tst "ftst" 0xd9 0xe4; Xam "fxam" 0xd9 0xe5;
            Ld1 "fld1" 0xd9 0xe8; LdL2t "fldl2t" 0xd9 0xe9; LdL2e "fldl2e" 0xd9 0xea; LdPi "fldpi" 0xd9 0xeb;
            LdLg2 "fldlg2" 0xd9 0xec; LdLn2 "fldln2" 0xd9 0xed; LdZ "fldz" 0xd9 0xee;
            F2xm1 "f2xm1" 0xd9 0xf0; Yl2x "fyl2x" 0xd9 0xf1; Ptan "fptan" 0xd9 0xf2; Patan "fpatan" 0xd9 0xf3;
            Xtract "fxtract" 0xd9 0xf4; Prem1 "fprem1" 0xd9 0xf5; DecStp "fdecstp" 0xd9 0xf6; IncStp "fincstp" 0xd9 0xf7;
            Prem "fprem" 0xd9 0xf8; Yl2xp1 "fyl2xp1" 0xd9 0xf9; Sqrt "fsqrt" 0xd9 0xfa; SinCos "fsincos" 0xd9 0xfb;
            RndInt "frndint" 0xd9 0xfc; Scale "fscale" 0xd9 0xfd; Sin "fsin" 0xd9 0xfe; Cos "fcos" 0xd9 0xff;
            UcomPp "fucompp" 0xda 0xe9; Clex "fnclex" 0xdb 0xe2; Init "fninit" 0xdb 0xe3;
            Ucomi "fucomi" 0xdb 0xe8; Comi "fcomi" 0xdb 0xf0; UcomiPop "fucomip" 0xdf 0xe8; ComiPop "fcomip" 0xdf 0xf0;
            AddSti "fadd.sti" 0xdc 0xc0; MulSti "fmul.sti" 0xdc 0xc8; SubRSti "fsubr.sti" 0xdc 0xe0; SubSti "fsub.sti" 0xdc 0xe8;
            DivRSti "fdivr.sti" 0xdc 0xf0; DivSti "fdiv.sti" 0xdc 0xf8;
            Free "ffree" 0xdd 0xc0; St "fst.sti" 0xdd 0xd0; StPop "fstp.sti" 0xdd 0xd8; Ucom "fucom" 0xdd 0xe0; UcomPop "fucomp" 0xdd 0xe8;
            AddPop "faddp" 0xde 0xc0; MulPop "fmulp" 0xde 0xc8; ComPp "fcompp" 0xde 0xd9;
            SubRPop "fsubrp" 0xde 0xe0; SubPop "fsubp" 0xde 0xe8; DivRPop "fdivrp" 0xde 0xf0; DivPop "fdivp" 0xde 0xf8;
            FreePop "ffreep" 0xdf 0xc0; Emms "emms" 0x0f 0x77; Wait "fwait" 0x9b 0x00;
        }
        mem {
            AddM32 "fadd.m32" 0xd8 0 4; MulM32 "fmul.m32" 0xd8 1 4; ComM32 "fcom.m32" 0xd8 2 4; ComPopM32 "fcomp.m32" 0xd8 3 4;
            SubM32 "fsub.m32" 0xd8 4 4; SubRM32 "fsubr.m32" 0xd8 5 4; DivM32 "fdiv.m32" 0xd8 6 4; DivRM32 "fdivr.m32" 0xd8 7 4;
            LdM32 "fld.m32" 0xd9 0 4; StM32 "fst.m32" 0xd9 2 4; StPopM32 "fstp.m32" 0xd9 3 4;
            LdEnv "fldenv" 0xd9 4 28; LdCw "fldcw" 0xd9 5 2; StEnv "fnstenv" 0xd9 6 28; StCw "fnstcw" 0xd9 7 2;
            AddI32 "fiadd.m32" 0xda 0 4; MulI32 "fimul.m32" 0xda 1 4; ComI32 "ficom.m32" 0xda 2 4; ComPopI32 "ficomp.m32" 0xda 3 4;
            SubI32 "fisub.m32" 0xda 4 4; SubRI32 "fisubr.m32" 0xda 5 4; DivI32 "fidiv.m32" 0xda 6 4; DivRI32 "fidivr.m32" 0xda 7 4;
            LdI32 "fild.m32" 0xdb 0 4; SttPopI32 "fisttp.m32" 0xdb 1 4; StI32 "fist.m32" 0xdb 2 4; StPopI32 "fistp.m32" 0xdb 3 4;
            LdM80 "fld.m80" 0xdb 5 10; StPopM80 "fstp.m80" 0xdb 7 10;
            AddM64 "fadd.m64" 0xdc 0 8; MulM64 "fmul.m64" 0xdc 1 8; ComM64 "fcom.m64" 0xdc 2 8; ComPopM64 "fcomp.m64" 0xdc 3 8;
            SubM64 "fsub.m64" 0xdc 4 8; SubRM64 "fsubr.m64" 0xdc 5 8; DivM64 "fdiv.m64" 0xdc 6 8; DivRM64 "fdivr.m64" 0xdc 7 8;
            LdM64 "fld.m64" 0xdd 0 8; SttPopI64 "fisttp.m64" 0xdd 1 8; StM64 "fst.m64" 0xdd 2 8; StPopM64 "fstp.m64" 0xdd 3 8;
            Rstor "frstor" 0xdd 4 108; Save "fnsave" 0xdd 6 108; StSw "fnstsw" 0xdd 7 2;
            AddI16 "fiadd.m16" 0xde 0 2; MulI16 "fimul.m16" 0xde 1 2; ComI16 "ficom.m16" 0xde 2 2; ComPopI16 "ficomp.m16" 0xde 3 2;
            SubI16 "fisub.m16" 0xde 4 2; SubRI16 "fisubr.m16" 0xde 5 2; DivI16 "fidiv.m16" 0xde 6 2; DivRI16 "fidivr.m16" 0xde 7 2;
            LdI16 "fild.m16" 0xdf 0 2; SttPopI16 "fisttp.m16" 0xdf 1 2; StI16 "fist.m16" 0xdf 2 2; StPopI16 "fistp.m16" 0xdf 3 2;
            LdBcd "fbld" 0xdf 4 10; LdI64 "fild.m64" 0xdf 5 8; StPopBcd "fbstp" 0xdf 6 10; StPopI64 "fistp.m64" 0xdf 7 8;
        }
    } };
}

/// How an x87 operation is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum X87Form {
    /// Two bytes, the register number added to the second.
    Reg([u8; 2]),
    /// Opcode byte, ModRM digit and operand size in bytes.
    Mem(u8, u8, u32),
}

macro_rules! define_x87 {
    (reg { $($rn:ident $rt:literal $b0:literal $b1:literal;)* } mem { $($mn:ident $mt:literal $mb:literal $digit:literal $size:literal;)* }) => {
        named_enum! {
            /// An operation of the x87 unit.
            pub enum X87Op { $(#[doc = $rt] $rn = $rt,)* $(#[doc = $mt] $mn = $mt,)* }
        }
        impl X87Op {
            /// The encoding, which is also the name of its definition in the manual.
            pub const fn form(self) -> X87Form {
                match self {
                    $(X87Op::$rn => X87Form::Reg([$b0, $b1]),)*
                    $(X87Op::$mn => X87Form::Mem($mb, $digit, $size),)*
                }
            }
        }
    };
}
for_each_x87!(define_x87);
