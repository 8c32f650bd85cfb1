"""HTTP services: web tickets and certificates for clients that sign in with one."""
