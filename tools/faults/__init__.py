"""Trouble dealt to a whole host by chance, and the proof that the next run mends it."""
