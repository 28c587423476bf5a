"""A radiograph and what its file says of how it was taken."""
