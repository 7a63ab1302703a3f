"""Mixing recipes that ship with the package; ``x_instruction.config.mixing`` loads them."""
