"""What a user can ask for, one module each: functions from values to values that work through the adapters."""
