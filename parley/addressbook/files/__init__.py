"""Address-book files (MS-ABS): what is in them, their bytes, and which of them there are."""
