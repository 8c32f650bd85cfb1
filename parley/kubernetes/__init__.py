"""What Parley asks of the Kubernetes that it runs in."""
