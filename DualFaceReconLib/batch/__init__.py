"""Many films, each whatever happens to the others."""
