"""dlhost's figures, measured against peers side by side; docs/performance.md says how."""
