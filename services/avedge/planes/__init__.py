"""Data planes: what moves the packets of allocations."""
