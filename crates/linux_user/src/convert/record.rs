//! Kernel structures in the layout of any data model.
//!
//! A structure of the kernel interface is the same list of fields everywhere; what differs between guests is how wide a
//! C `long` is and how a 64-bit integer is aligned. So a structure is written down once, with [`record!`], and can be
//! read from and written to memory in the layout of any [`Model`]. The host is one of the models: a conversion is a
//! [`Record::decode`] with one model and an [`Record::encode`] with the other.

/// What decides the layout of a C structure on a little-endian Linux.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Model {
    /// Size of `long` and of pointers, bytes: 4 or 8.
    pub long: usize,
    /// Alignment of a 64-bit integer in a structure, bytes: 4 in the i386 ABI, 8 everywhere else.
    pub align64: usize,
}

impl Model {
    /// i386: the System V ABI aligns 64-bit integers to 4 bytes.
    pub const I386: Model = Model { long: 4, align64: 4 };
    /// 32-bit Arm (EABI).
    pub const ARM: Model = Model { long: 4, align64: 8 };
    /// x86-64 and AArch64.
    pub const LP64: Model = Model { long: 8, align64: 8 };
    /// The host.
    pub const HOST: Model = Model::LP64;

    /// The mask of a guest address.
    pub const fn address_mask(self) -> u64 {
        if self.long == 4 { 0xffff_ffff } else { u64::MAX }
    }
    /// Whether words have the host's size.
    pub const fn is_host(self) -> bool {
        self.long == Model::HOST.long
    }
}

/// Reads fields in order, at the offsets at which a C compiler for the model puts them.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The model.
    pub model: Model,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`. Bytes after its end read as zero.
    pub fn new(model: Model, bytes: &'a [u8]) -> Self {
        Reader { model, bytes, at: 0 }
    }
    /// Skips to the next multiple of `align`.
    pub fn align(&mut self, align: usize) {
        self.at = self.at.next_multiple_of(align);
    }
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let n = rest.len().min(N);
        out[..n].copy_from_slice(&rest[..n]);
        self.at += N;
        out
    }
}

/// Writes fields in order, at the offsets at which a C compiler for the model puts them. Padding is left as it is.
#[derive(Debug)]
pub struct Writer<'a> {
    /// The model.
    pub model: Model,
    bytes: &'a mut [u8],
    at: usize,
    overflow: bool,
}

impl<'a> Writer<'a> {
    /// Writes from the start of `bytes`; what would be past its end is dropped.
    pub fn new(model: Model, bytes: &'a mut [u8]) -> Self {
        Writer { model, bytes, at: 0, overflow: false }
    }
    /// Skips to the next multiple of `align`.
    pub fn align(&mut self, align: usize) {
        self.at = self.at.next_multiple_of(align);
    }
    /// Whether a value did not fit its field; it was truncated, as the kernel does where it does not refuse.
    pub fn overflowed(&self) -> bool {
        self.overflow
    }
    fn give(&mut self, data: &[u8]) {
        let rest = self.bytes.get_mut(self.at..).unwrap_or(&mut []);
        let n = rest.len().min(data.len());
        rest[..n].copy_from_slice(&data[..n]);
        self.at += data.len();
    }
}

/// A field, or a structure of fields.
pub trait Record: Sized {
    /// Alignment in a structure.
    fn align(model: Model) -> usize;
    /// Reads it; the reader is aligned.
    fn get(r: &mut Reader<'_>) -> Self;
    /// Writes it; the writer is aligned.
    fn put(&self, w: &mut Writer<'_>);
    /// The end of the fields when they start at offset `at`, which is aligned. Padding behind the last is not included.
    fn extent(model: Model, at: usize) -> usize;

    /// Size of the structure, as `sizeof` gives it.
    fn size(model: Model) -> usize {
        Self::extent(model, 0).next_multiple_of(Self::align(model))
    }
    /// Reads the structure from the start of `bytes`.
    fn decode(model: Model, bytes: &[u8]) -> Self {
        Self::get(&mut Reader::new(model, bytes))
    }
    /// Writes the structure to the start of `bytes`; returns whether every value fitted its field.
    fn encode(&self, model: Model, bytes: &mut [u8]) -> bool {
        let mut w = Writer::new(model, bytes);
        self.put(&mut w);
        !w.overflowed()
    }
}

macro_rules! integers {
    ($($int:ident)*) => {$(
        impl Record for $int {
            fn align(model: Model) -> usize {
                if size_of::<$int>() == 8 { model.align64 } else { size_of::<$int>() }
            }
            fn get(r: &mut Reader<'_>) -> Self {
                $int::from_le_bytes(r.take())
            }
            fn put(&self, w: &mut Writer<'_>) {
                w.give(&self.to_le_bytes());
            }
            fn extent(_: Model, at: usize) -> usize {
                at + size_of::<$int>()
            }
        }
    )*};
}
integers!(u8 i8 u16 i16 u32 i32 u64 i64);

macro_rules! longs {
    ($($(#[$doc:meta])* $name:ident($wide:ident, $narrow:ident);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct $name(pub $wide);

        impl Record for $name {
            fn align(model: Model) -> usize {
                model.long
            }
            fn get(r: &mut Reader<'_>) -> Self {
                if r.model.long == 4 { $name(<$narrow>::get(r).into()) } else { $name(<$wide>::get(r)) }
            }
            fn put(&self, w: &mut Writer<'_>) {
                if w.model.long == 4 {
                    w.overflow |= <$narrow>::try_from(self.0).is_err();
                    (self.0 as $narrow).put(w);
                } else {
                    self.0.put(w);
                }
            }
            fn extent(model: Model, at: usize) -> usize {
                at + model.long
            }
        }
    )*};
}
longs! {
    /// A C `long`.
    Long(i64, i32);
    /// A C `unsigned long`, `size_t` or pointer.
    Ulong(u64, u32);
}

/// A 64-bit time in a structure that was first laid out with a `long` and later got the upper half as another `long`
/// next to it (the System V IPC structures). On a 64-bit guest it is one `long`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SplitTime(pub i64);

impl Record for SplitTime {
    fn align(model: Model) -> usize {
        model.long
    }
    fn get(r: &mut Reader<'_>) -> Self {
        // Two adjacent little-endian longs, the lower half first, read as one 64-bit integer.
        SplitTime(i64::get(r))
    }
    fn put(&self, w: &mut Writer<'_>) {
        self.0.put(w);
    }
    fn extent(_: Model, at: usize) -> usize {
        at + 8
    }
}

/// Nanoseconds in a structure that is 64-bit on every guest. The C libraries of 32-bit guests leave garbage in the
/// upper half, which was padding to them, and the kernel ignores it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Nsec(pub i64);

impl Record for Nsec {
    fn align(model: Model) -> usize {
        i64::align(model)
    }
    fn get(r: &mut Reader<'_>) -> Self {
        let value = i64::get(r);
        Nsec(if r.model.long == 4 { value & 0xffff_ffff } else { value })
    }
    fn put(&self, w: &mut Writer<'_>) {
        self.0.put(w);
    }
    fn extent(_: Model, at: usize) -> usize {
        at + 8
    }
}

impl<T: Record + Copy + Default, const N: usize> Record for [T; N] {
    fn align(model: Model) -> usize {
        T::align(model)
    }
    fn get(r: &mut Reader<'_>) -> Self {
        let mut out = [T::default(); N];
        for item in &mut out {
            r.align(T::align(r.model));
            *item = T::get(r);
        }
        r.align(T::align(r.model));
        out
    }
    fn put(&self, w: &mut Writer<'_>) {
        for item in self {
            w.align(T::align(w.model));
            item.put(w);
        }
        w.align(T::align(w.model));
    }
    fn extent(model: Model, at: usize) -> usize {
        at + N * T::size(model)
    }
}

/// Defines structures of the kernel interface: field names and types in order, nothing about offsets.
macro_rules! record {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct $name {
            $(
                #[doc = concat!("Field `", stringify!($field), "`.")]
                pub $field: $ty,
            )*
        }

        impl $crate::convert::record::Record for $name {
            fn align(model: $crate::convert::record::Model) -> usize {
                [$(<$ty as $crate::convert::record::Record>::align(model)),*].into_iter().max().unwrap_or(1)
            }
            fn get(r: &mut $crate::convert::record::Reader<'_>) -> Self {
                let out = $name {
                    $($field: {
                        r.align(<$ty as $crate::convert::record::Record>::align(r.model));
                        <$ty as $crate::convert::record::Record>::get(r)
                    },)*
                };
                r.align(Self::align(r.model));
                out
            }
            fn put(&self, w: &mut $crate::convert::record::Writer<'_>) {
                $(
                    w.align(<$ty as $crate::convert::record::Record>::align(w.model));
                    self.$field.put(w);
                )*
                w.align(Self::align(w.model));
            }
            fn extent(model: $crate::convert::record::Model, at: usize) -> usize {
                $(
                    let at = at.next_multiple_of(<$ty as $crate::convert::record::Record>::align(model));
                    let at = <$ty as $crate::convert::record::Record>::extent(model, at);
                )*
                at.next_multiple_of(Self::align(model))
            }
        }
    )*};
}
pub(crate) use record;

/// Bytes that the largest structure converted here takes in any model.
pub const MAX_RECORD: usize = 256;

/// Room for one structure, aligned for the host kernel.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
pub struct Buffer([u8; MAX_RECORD]);

impl Default for Buffer {
    fn default() -> Self {
        Buffer([0; MAX_RECORD])
    }
}

impl Buffer {
    /// The structure in the host's layout.
    pub fn host<T: Record>(value: &T) -> Self {
        let mut b = Buffer::default();
        value.encode(Model::HOST, &mut b.0);
        b
    }
    /// The structure that the host kernel left here.
    pub fn read<T: Record>(&self) -> T {
        T::decode(Model::HOST, &self.0)
    }
    /// The first `len` bytes.
    pub fn bytes(&self, len: usize) -> &[u8] {
        &self.0[..len.min(MAX_RECORD)]
    }
    /// The first `len` bytes, writable.
    pub fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        &mut self.0[..len.min(MAX_RECORD)]
    }
    /// Whether both hold the same bytes.
    pub fn same(&self, other: &Buffer) -> bool {
        self.0 == other.0
    }
    /// Where it is, as an argument of a host system call.
    pub fn addr(&mut self) -> u64 {
        self.0.as_mut_ptr() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    record! {
        /// Every kind of field.
        Mixed { a: u8, b: u64, c: Long, d: u16, e: Ulong, f: [u32; 3], }
        /// A structure in a structure.
        Nested { x: u8, inner: Mixed, y: u8, }
    }

    #[test]
    fn sizes_follow_the_abi() {
        // Computed with gcc -m32, arm-linux-gnueabi and x86-64 rules by hand.
        assert_eq!(Mixed::size(Model::I386), 4 + 8 + 4 + 4 + 4 + 12);
        assert_eq!(Mixed::size(Model::ARM), 40);
        assert_eq!(Mixed::size(Model::LP64), 56);
        assert_eq!(Nested::size(Model::I386), 4 + 36 + 4);
        assert_eq!(Nested::size(Model::ARM), 8 + 40 + 8);
        assert_eq!(Nested::size(Model::LP64), 8 + 56 + 8);
    }

    #[test]
    fn round_trip_through_every_model() {
        let inner = Mixed { a: 1, b: 0x1122_3344_5566_7788, c: Long(-5), d: 7, e: Ulong(9), f: [1, 2, 3] };
        let value = Nested { x: 3, inner, y: 4 };
        for model in [Model::I386, Model::ARM, Model::LP64] {
            let mut bytes = [0xaa; 128];
            assert!(value.encode(model, &mut bytes));
            assert_eq!(Nested::decode(model, &bytes), value);
        }
    }

    #[test]
    fn offsets_on_i386() {
        let mut bytes = [0; 36];
        let v = Mixed { a: 1, b: 2, c: Long(-1), d: 3, e: Ulong(4), f: [5, 6, 7] };
        v.encode(Model::I386, &mut bytes);
        assert_eq!(bytes[4], 2);
        assert_eq!(&bytes[12..16], &[0xff; 4]);
        assert_eq!((bytes[16], bytes[20], bytes[24], bytes[32]), (3, 4, 5, 7));
    }

    #[test]
    fn overflow_is_reported_and_truncates() {
        let mut bytes = [0; 8];
        assert!(!Long(1 << 31).encode(Model::I386, &mut bytes));
        assert!(Long(-(1 << 31)).encode(Model::I386, &mut bytes));
        assert!(!Ulong(1 << 32).encode(Model::ARM, &mut bytes));
        assert!(Ulong(u64::MAX).encode(Model::LP64, &mut bytes));
    }

    #[test]
    fn short_input_reads_as_zero() {
        assert_eq!(u64::decode(Model::HOST, &[1]), 1);
    }
}
