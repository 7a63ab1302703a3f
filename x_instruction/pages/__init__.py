"""Parts of HTML pages that work offline: the frame with its content policy, safe text, base style and base script."""
