"""What services that end media stand on."""
