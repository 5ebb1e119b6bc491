"""`python -m entracte`: the command `entracte`."""

from entracte.cli.main import main

if __name__ == "__main__":
    main()
