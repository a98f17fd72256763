# Written by dlhost, role tls.
"""Keep the host's certificate from its ACME directory valid.

tls-acme renew      ask for it where it is time, as the timer does twice a day
tls-acme install    put what the directory gave in its places and have nginx take it; certbot's deploy hook
"""

import argparse
import sys
import time

from ansible_collections.dlhost.host.plugins.module_utils import acme_host, owned_files


def main(arguments):
    parser = argparse.ArgumentParser(prog="tls-acme", description="Keep the host's ACME certificate valid.")
    parser.add_argument("act", choices=["renew", "install"])
    asked = parser.parse_args(arguments)
    try:
        order = acme_host.read_order()
        if asked.act == "renew":
            acme_host.attend(order, time.time())
        else:
            acme_host.install(order)
    except (acme_host.AcmeError, owned_files.OwnedFilesError) as error:
        sys.stderr.write(f"{str(error).rstrip('.')}.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
