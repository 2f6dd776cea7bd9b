//! Boards: the only place that wires processors, buses and devices.
