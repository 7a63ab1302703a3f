"""Cross-lingual instruction data: English instructions for natural text of any language (arXiv 2405.19744)."""

__version__ = "0.1.0"

__all__ = ["__version__", "load", "view"]


def __getattr__(name: str) -> object:
    # datasets takes seconds to import; ``import x_instruction`` must not.
    if name == "load":
        from x_instruction.builders.reading import load

        return load
    if name == "view":
        from x_instruction.builders.views import view

        return view
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
