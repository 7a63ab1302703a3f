"""Mixing recipes that ship; `x_instruction.tuning.mixing.recipe` loads them."""
