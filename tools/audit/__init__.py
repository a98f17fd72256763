"""Hosts graded by programs that are not ours; docs/security.md argues the grades."""
