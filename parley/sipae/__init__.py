"""Authentication and signing of SIP as Office Communicator does it (MS-SIPAE): NTLM or Kerberos, message by message."""
