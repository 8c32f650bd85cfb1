"""Instant messages between clients with sessions and phones with single messages, and messages for later."""
