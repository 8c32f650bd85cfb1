"""Conferences as the focus sees them: names, admission, roles, roster, documents (MS-CONFBAS, RFC 4575)."""
