"""Facts between services: one interface, on Redis Streams or on Kafka."""
