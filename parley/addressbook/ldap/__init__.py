"""LDAP without I/O: search filters."""
