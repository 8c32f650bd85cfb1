"""C3P, the protocol by which clients create and control conferences (MS-CONFBAS, MS-CONFPRO; draft-levin-xcon-cccp)."""
