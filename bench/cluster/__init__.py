"""Measurements on a real cluster, of what ``make cluster-install`` has installed."""
