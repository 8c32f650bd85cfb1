"""Updates of devices over HTTP: what devices ask, fetch and send, and what administrators do."""
