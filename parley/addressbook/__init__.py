"""The directory without I/O: entries, numbers, search, groups, address-book files, queries and device updates."""
