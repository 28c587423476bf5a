"""How good it is: frozen films, tables, baselines."""
