"""State in Redis (Valkey): connections, server-side scripts, durable writes, and the bundled server."""
