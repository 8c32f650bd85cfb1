"""What runs: one folder for each service."""
