"""Files that clients and devices fetch: whole, in parts, or not again when they have them."""
