"""dlhost: a bare Linux box with an NVIDIA card becomes a deep-learning host, and stays one."""

__version__ = "0.1.0"
