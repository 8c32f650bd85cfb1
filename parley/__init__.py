"""Parley, a unified-communications server: the library."""
