"""What every service stands on: configuration, lifecycle, rpc, store, events, telemetry, TLS."""
