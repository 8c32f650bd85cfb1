"""The A/V edge: STUN and TURN relay for RFC 8656 and MS-TURN clients, and its credentials."""
