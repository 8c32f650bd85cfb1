"""The registrar: which endpoints an address of record is reached at."""
