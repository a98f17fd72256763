"""What all tests share."""

import signal

# Tests press Ctrl-C. A shell that starts them in the background has them ignore it, and all that they start with them.
signal.signal(signal.SIGINT, signal.default_int_handler)
