import sys

from loadtest.load.command import load

sys.exit(load(sys.argv[1:]))
