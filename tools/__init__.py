"""Programs for those who work on Parley; none of them is installed with it."""
