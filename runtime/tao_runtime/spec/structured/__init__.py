"""The structured TOML dialect: sections with upstream's keys and defaults, shared by every family that speaks it."""
