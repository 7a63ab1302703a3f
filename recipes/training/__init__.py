"""Training recipes that ship with the package; ``x_instruction.config.training`` loads them."""
