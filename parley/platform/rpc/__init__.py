"""Calls between services: gRPC, batches on streams, and direct calls within one process (DESIGN section 2)."""
