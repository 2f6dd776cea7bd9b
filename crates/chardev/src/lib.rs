//! Character back ends: where serial lines, monitors and other streams of bytes lead to on the host.
