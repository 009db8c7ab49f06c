import sys

from paddle_pointrend.cli import main

if __name__ == "__main__":
    sys.exit(main())
