//! Displays and input: what a screen shows, and keys and pointers on their way to devices.
