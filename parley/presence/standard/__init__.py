"""The documents of standard SIP presence, read and written without I/O."""
