"""Vertebrae for EAR: real ones, virtual ones, their films, and how volumes made of them are judged."""
