"""Instant messages: page mode and session mode, their formats, delivery reports and typing."""
