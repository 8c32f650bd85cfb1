"""The documents of Communicator: publications, own data, contact lists, batched subscriptions, settings (MS-PRES, MS-SIP).

They are written as text, as their contents are kept as text; what comes from outside is read through `parley.xml`.
"""
