"""Frozen values and pure functions over them; nothing here reads, writes or starts anything."""
