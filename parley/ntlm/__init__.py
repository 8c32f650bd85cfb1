"""NTLM (MS-NLMP), the server's side, in datagrams and on connections: messages, proof of a password, keys, signatures."""
