"""Prints what the weights in each file come to in bytes on the way, whole and as an int8 update, as
JSON."""

import json
import sys

from . import weights

print(json.dumps({path: weights.sizes(weights.read(path)) for path in sys.argv[1:]}))
