"""Work that signals start."""
