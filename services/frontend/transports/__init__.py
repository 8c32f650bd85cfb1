"""Transports: sockets to messages and back."""
