"""Values as text: for a person at a terminal, or as one JSON document."""
