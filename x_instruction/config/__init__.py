"""Settings: TOML files into frozen, validated sections."""
