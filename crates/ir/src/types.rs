//! Value types, vector lanes, condition codes and flag bits: the attributes that instructions carry.

use bitflags::bitflags;

/// Declares a fieldless enum together with its text names and its list of members.
macro_rules! named_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vm:meta])* $member:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr(u8)]
        $vis enum $name { $($(#[$vm])* $member),* }
        impl $name {
            /// Every member, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$member),*];
            /// The name used in the text form.
            pub const fn text(self) -> &'static str { match self { $($name::$member => $text),* } }
            /// The member with that text name.
            pub fn from_text(text: &str) -> Option<Self> { Self::ALL.iter().copied().find(|m| m.text() == text) }
            /// The member with that number.
            pub fn from_index(index: u8) -> Option<Self> { Self::ALL.get(usize::from(index)).copied() }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.text()) }
        }
    };
}
pub(crate) use named_enum;

named_enum! {
    /// The type of a value.
    pub enum Type {
        /// No value: stores, exits, state writes.
        None = "none",
        /// 8-bit integer.
        I8 = "i8",
        /// 16-bit integer.
        I16 = "i16",
        /// 32-bit integer.
        I32 = "i32",
        /// 64-bit integer.
        I64 = "i64",
        /// 128-bit integer (pairs for wide compare-and-swap).
        I128 = "i128",
        /// 64-bit vector (MMX, NEON D).
        V64 = "v64",
        /// 128-bit vector (SSE, NEON Q); scalar floating point lives in its low lane.
        V128 = "v128",
        /// 256-bit vector (AVX).
        V256 = "v256",
        /// 80-bit extended float in a guest register file; only the x87 ops touch it.
        F80 = "f80",
        /// A bundle of condition flags, not a number.
        Flags = "flags",
    }
}

impl Type {
    /// Width in bytes as stored in the CPU state; flags are stored in 4.
    pub const fn bytes(self) -> u32 {
        match self {
            Type::None => 0,
            Type::I8 => 1,
            Type::I16 => 2,
            Type::I32 | Type::Flags => 4,
            Type::I64 | Type::V64 => 8,
            Type::F80 => 10,
            Type::I128 | Type::V128 => 16,
            Type::V256 => 32,
        }
    }
    /// Width in bits.
    pub const fn bits(self) -> u32 {
        self.bytes() * 8
    }
    /// Whether this is `i8` … `i64`.
    pub const fn is_int(self) -> bool {
        matches!(self, Type::I8 | Type::I16 | Type::I32 | Type::I64)
    }
    /// Whether this is `v64` … `v256`.
    pub const fn is_vector(self) -> bool {
        matches!(self, Type::V64 | Type::V128 | Type::V256)
    }
    /// The type of the same kind and half the width, if there is one.
    pub const fn half(self) -> Option<Type> {
        match self {
            Type::I16 => Some(Type::I8),
            Type::I32 => Some(Type::I16),
            Type::I64 => Some(Type::I32),
            Type::I128 => Some(Type::I64),
            Type::V128 => Some(Type::V64),
            Type::V256 => Some(Type::V128),
            _ => None,
        }
    }
    /// The mask of the bits of an integer type of at most 64 bits.
    pub const fn mask(self) -> u64 {
        if self.bits() >= 64 { u64::MAX } else { (1 << self.bits()) - 1 }
    }
}

named_enum! {
    /// How a vector op divides its operands. The scalar lanes work on lane 0 and take the rest from the first operand.
    pub enum Lane {
        /// 8-bit integers.
        I8 = "b",
        /// 16-bit integers.
        I16 = "h",
        /// 32-bit integers.
        I32 = "w",
        /// 64-bit integers.
        I64 = "d",
        /// Packed single precision.
        F32 = "ps",
        /// Packed double precision.
        F64 = "pd",
        /// Scalar single precision in lane 0.
        S32 = "ss",
        /// Scalar double precision in lane 0.
        S64 = "sd",
    }
}

impl Lane {
    /// Bytes per lane.
    pub const fn bytes(self) -> u32 {
        match self {
            Lane::I8 => 1,
            Lane::I16 => 2,
            Lane::I32 | Lane::F32 | Lane::S32 => 4,
            Lane::I64 | Lane::F64 | Lane::S64 => 8,
        }
    }
    /// Whether only lane 0 is operated on.
    pub const fn is_scalar(self) -> bool {
        matches!(self, Lane::S32 | Lane::S64)
    }
}

named_enum! {
    /// A condition over a flags bundle, in the x86 sense: carry after a subtraction is the borrow.
    pub enum Cond {
        /// O = 1.
        O = "o",
        /// O = 0.
        No = "no",
        /// C = 1 (unsigned below).
        B = "b",
        /// C = 0 (unsigned at or above).
        Ae = "ae",
        /// Z = 1.
        E = "e",
        /// Z = 0.
        Ne = "ne",
        /// C = 1 or Z = 1.
        Be = "be",
        /// C = 0 and Z = 0.
        A = "a",
        /// S = 1.
        S = "s",
        /// S = 0.
        Ns = "ns",
        /// P = 1.
        P = "p",
        /// P = 0.
        Np = "np",
        /// S ≠ O.
        L = "l",
        /// S = O.
        Ge = "ge",
        /// Z = 1 or S ≠ O.
        Le = "le",
        /// Z = 0 and S = O.
        G = "g",
    }
}

bitflags! {
    /// Flag bits at their places in the x86 EFLAGS register; also the storage layout of a flags register.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct FlagSet: u32 {
        /// Carry; borrow after a subtraction.
        const C = 1 << 0;
        /// Even parity of the low byte.
        const P = 1 << 2;
        /// Carry out of bit 3.
        const A = 1 << 4;
        /// Zero.
        const Z = 1 << 6;
        /// Sign.
        const S = 1 << 7;
        /// Signed overflow.
        const O = 1 << 11;
    }
}

/// The flags in the order of their short attribute encoding (bit 0 … bit 5) and their letters in the text form.
const FLAG_ORDER: [(FlagSet, char); 6] =
    [(FlagSet::C, 'c'), (FlagSet::P, 'p'), (FlagSet::A, 'a'), (FlagSet::Z, 'z'), (FlagSet::S, 's'), (FlagSet::O, 'o')];

impl FlagSet {
    /// The six bits packed into an attribute byte.
    pub fn to_attr(self) -> u8 {
        FLAG_ORDER.iter().enumerate().map(|(i, (f, _))| u8::from(self.contains(*f)) << i).sum()
    }
    /// The inverse of [`FlagSet::to_attr`]; higher bits are ignored.
    pub fn from_attr(attr: u8) -> Self {
        FLAG_ORDER.iter().enumerate().filter(|(i, _)| attr >> i & 1 != 0).fold(Self::empty(), |s, (_, (f, _))| s | *f)
    }
    /// Letters, for example `cpazso`; `0` when empty.
    pub fn letters(self) -> String {
        let text: String = FLAG_ORDER.iter().filter(|(f, _)| self.contains(*f)).map(|(_, c)| *c).collect();
        if text.is_empty() { "0".into() } else { text }
    }
    /// The inverse of [`FlagSet::letters`].
    pub fn from_letters(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self::empty());
        }
        text.chars()
            .try_fold(Self::empty(), |set, letter| FLAG_ORDER.iter().find(|(_, c)| *c == letter).map(|(f, _)| set | *f))
    }
}

impl Cond {
    /// The opposite condition.
    pub fn invert(self) -> Self {
        Self::ALL[(self as usize) ^ 1]
    }
    /// The flags that the condition reads.
    pub fn reads(self) -> FlagSet {
        match self {
            Cond::O | Cond::No => FlagSet::O,
            Cond::B | Cond::Ae => FlagSet::C,
            Cond::E | Cond::Ne => FlagSet::Z,
            Cond::Be | Cond::A => FlagSet::C | FlagSet::Z,
            Cond::S | Cond::Ns => FlagSet::S,
            Cond::P | Cond::Np => FlagSet::P,
            Cond::L | Cond::Ge => FlagSet::S | FlagSet::O,
            Cond::Le | Cond::G => FlagSet::S | FlagSet::O | FlagSet::Z,
        }
    }
    /// Whether the condition holds for those flags.
    pub fn holds(self, flags: FlagSet) -> bool {
        let has = |f| flags.contains(f);
        let base = match Self::ALL[(self as usize) & !1] {
            Cond::O => has(FlagSet::O),
            Cond::B => has(FlagSet::C),
            Cond::E => has(FlagSet::Z),
            Cond::Be => has(FlagSet::C) || has(FlagSet::Z),
            Cond::S => has(FlagSet::S),
            Cond::P => has(FlagSet::P),
            Cond::L => has(FlagSet::S) != has(FlagSet::O),
            _ => has(FlagSet::Z) || has(FlagSet::S) != has(FlagSet::O),
        };
        base != ((self as usize) & 1 == 1)
    }
}

/// The shape of one memory access, packed into an attribute byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemAttr(pub u8);

impl MemAttr {
    const SIGNED: u8 = 1 << 3;
    const ALIGNED: u8 = 1 << 4;
    const BIG_ENDIAN: u8 = 1 << 5;
    /// Access of `bytes` (1, 2, 4, 8, 16 or 32), zero-extended, any alignment, little endian.
    pub const fn new(bytes: u32) -> Self {
        MemAttr(bytes.trailing_zeros() as u8)
    }
    /// The same access, sign-extended to the instruction's type.
    pub const fn signed(self) -> Self {
        MemAttr(self.0 | Self::SIGNED)
    }
    /// The same access, which raises an alignment exception when the address is not a multiple of its size.
    pub const fn aligned(self) -> Self {
        MemAttr(self.0 | Self::ALIGNED)
    }
    /// The same access in big-endian byte order.
    pub const fn big_endian(self) -> Self {
        MemAttr(self.0 | Self::BIG_ENDIAN)
    }
    /// Width in bytes.
    pub const fn bytes(self) -> u32 {
        1 << (self.0 & 7)
    }
    /// Whether a load sign-extends.
    pub const fn is_signed(self) -> bool {
        self.0 & Self::SIGNED != 0
    }
    /// Whether misalignment faults.
    pub const fn is_aligned(self) -> bool {
        self.0 & Self::ALIGNED != 0
    }
    /// Whether the bytes are swapped on a little-endian host.
    pub const fn is_big_endian(self) -> bool {
        self.0 & Self::BIG_ENDIAN != 0
    }
    /// Whether the byte is a valid encoding.
    pub const fn is_valid(self) -> bool {
        self.0 & 7 <= 5 && self.0 >> 6 == 0
    }
}

named_enum! {
    /// The operation of an atomic read-modify-write.
    pub enum AtomicOp {
        /// Addition.
        Add = "add",
        /// Subtraction.
        Sub = "sub",
        /// Bitwise and.
        And = "and",
        /// Bitwise or.
        Or = "or",
        /// Bitwise exclusive or.
        Xor = "xor",
        /// Exchange.
        Xchg = "xchg",
        /// Signed minimum.
        MinS = "mins",
        /// Signed maximum.
        MaxS = "maxs",
        /// Unsigned minimum.
        MinU = "minu",
        /// Unsigned maximum.
        MaxU = "maxu",
    }
}

named_enum! {
    /// Which NaN a floating-point op gives, and what else the guest's architecture decides about its result. Rounding
    /// and the flushing of denormals are the control register's unless the rule says otherwise. The flag for denormal
    /// operands has no defined value under the Arm rules.
    pub enum FpRule {
        /// The first operand that is a NaN, made quiet; an invalid operation gives the negative default NaN
        /// (SDM vol. 1, table 4-7).
        X86 = "x86",
        /// The first operand that is a signalling NaN, else the first that is a NaN, made quiet; an invalid operation
        /// gives the positive default NaN. A fused multiply-add looks at the addend first, and infinity times zero
        /// plus a quiet NaN is invalid (Arm ARM, FPProcessNaNs and FPProcessNaNs3).
        Arm = "arm",
        /// Any NaN result is the positive default NaN (FPCR.DN = 1).
        ArmDefault = "armdn",
        /// As `ArmDefault`, and to nearest even with denormal operands and results flushed to zero, whatever the
        /// control register says (A32 Advanced SIMD, "standard FPSCR value").
        ArmStandard = "armstd",
    }
}

named_enum! {
    /// How a floating-point op rounds to an integral value.
    pub enum Rounding {
        /// To nearest, ties to even.
        NearestEven = "even",
        /// Towards minus infinity.
        Down = "down",
        /// Towards plus infinity.
        Up = "up",
        /// Towards zero.
        Zero = "zero",
        /// As the control register says.
        Current = "current",
        /// To nearest, ties away from zero.
        NearestAway = "away",
    }
}

/// The immediate of a floating-point op: its rule, and a selector of four bits whose meaning is the op's own. Where the
/// op rounds to integral values the selector is a [`Rounding`], plus 8 if inexact results are not reported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FpMode(pub u8);

impl FpMode {
    /// The rule with selector 0.
    pub const fn new(rule: FpRule) -> Self {
        FpMode((rule as u8) << 4)
    }
    /// The same rule with that selector (0 to 15).
    pub const fn select(self, selector: u8) -> Self {
        FpMode(self.0 & 0xf0 | selector & 15)
    }
    /// The same rule with that rounding.
    pub const fn rounding(self, rounding: Rounding) -> Self {
        self.select(rounding as u8)
    }
    /// The same, without reporting inexact results.
    pub const fn quiet(self) -> Self {
        FpMode(self.0 | 8)
    }
    /// The rule.
    pub fn rule(self) -> FpRule {
        FpRule::from_index(self.0 >> 4).unwrap_or(FpRule::X86)
    }
    /// The selector.
    pub const fn selector(self) -> u8 {
        self.0 & 15
    }
    /// The selector as a rounding, and whether inexact results are not reported.
    pub fn as_rounding(self) -> (Rounding, bool) {
        (Rounding::from_index(self.0 & 7).unwrap_or(Rounding::Current), self.0 & 8 != 0)
    }
    /// Whether the byte is a valid encoding.
    pub const fn is_valid(self) -> bool {
        self.0 >> 6 == 0
    }
}
