"""Shape models, and bones completed by them."""
