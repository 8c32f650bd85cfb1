"""Directory servers that entries come from (LDAP, RFC 4510 and following)."""
