"""What a user can ask for, one module each: plain functions over values, with their adapters as arguments."""
