"""The directory: entries, their search index, and where they come from."""
