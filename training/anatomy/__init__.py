"""Bones -> correspondences -> shape models."""
