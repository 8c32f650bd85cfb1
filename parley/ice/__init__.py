"""ICE in three dialects (RFC 8445, [MS-ICE2], [MS-ICE]) without sockets: bytes, times in; bytes, events, deadlines out."""
