"""The same work on many items at a time: in processes of this machine, or on a cluster's."""
