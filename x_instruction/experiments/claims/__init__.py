"""The experiments that test the claims of the paper: one pool of documents, planted noise, and what is measured."""
