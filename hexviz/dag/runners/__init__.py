"""Where node code runs."""
