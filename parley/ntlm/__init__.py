"""NTLM in its datagram form (MS-NLMP), the server's side: the messages, what proves a password, keys and signatures."""
