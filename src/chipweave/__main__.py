"""``python -m chipweave``."""

from chipweave.cli import main

if __name__ == "__main__":
    main()
