"""Presence, contacts and settings of users: a SIP application behind the front end."""
