"""The part of an audit that loads: what was written is opened with its library and run once, on a seeded input."""
