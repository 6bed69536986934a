"""The one call of docker-compose.yml: ``wget -q -O /dev/null URL``."""

import sys
import urllib.request

urllib.request.urlopen(sys.argv[-1], timeout=5).read()
