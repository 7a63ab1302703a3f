"""``python -m x_instruction``."""

from x_instruction.cli import main

if __name__ == "__main__":
    main()
