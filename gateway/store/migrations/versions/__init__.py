"""One file a revision. A released one is never edited: it says what was, `schema.py` says what is."""
