"""NTLM: so far the hash that NT passwords are kept as."""
