"""vCard 4.0 (RFC 6350) and 3.0 (RFC 2426), without I/O: lines, cards, and the escapes of their values."""
