"""A vertebra of two films: the pair, where it was clicked, the network's volume, its surface and what is measured."""
