"""Networks learn."""
