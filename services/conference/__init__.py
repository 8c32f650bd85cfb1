"""Conferences: the factory that makes them, and the focus of each (MS-CONFBAS, MS-CONFPRO, RFC 4575)."""
