"""Address-book files: made once a day, kept in Redis, read by the web services."""
