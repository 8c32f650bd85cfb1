"""Traces, metrics and logs (the contract is in `contract`, and for people in docs/telemetry.md)."""
