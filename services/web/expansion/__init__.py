"""Groups and searches of the address book by SOAP."""
