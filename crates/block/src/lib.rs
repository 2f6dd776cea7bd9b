//! Disk images: what block devices read and write.
