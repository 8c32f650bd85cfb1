"""The address book: users of the domains, and what they sign in with."""
