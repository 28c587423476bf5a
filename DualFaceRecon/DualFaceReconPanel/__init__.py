"""What stands behind the module's panel: the engine's process, films, results, layout and packages."""
