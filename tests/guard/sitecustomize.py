"""Python imports this at its start where tests/guard is on PYTHONPATH: the socket guard of the subprocesses."""

import loopback

loopback.close()
