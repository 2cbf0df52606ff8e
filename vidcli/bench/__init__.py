"""Measurements that a user can repeat; one module a kind."""
