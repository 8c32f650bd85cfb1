"""MS-TURN, the relay protocol of Office Communications Server.

It has a codec of its own, as it shares little but names with TURN of the IETF.
"""
