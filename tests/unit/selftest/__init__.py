"""Tests of the self-test: its user agent, its steps, what it asks of Jaeger."""
