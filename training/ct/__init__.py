"""CTs with labelled bones become cases."""
