"""Bundles: networks and shape models, sealed; where they lie and where they come from."""
