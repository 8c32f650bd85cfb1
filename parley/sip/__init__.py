"""SIP without I/O: messages, transactions, the proxy core, dialogs and authentication (RFC 3261 and its extensions)."""
