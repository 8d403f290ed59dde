"""What was read, indexed, and how objects relate. No I/O: what is lacking is noted and read by the app."""
