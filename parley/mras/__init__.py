"""Credentials for the media relay as Office Communicator wants them (MS-AVEDGEA): how they are made, and the documents."""
