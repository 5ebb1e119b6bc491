"""`python -m entracte`: the command `entracte`."""

from entracte.cli.start import entracte

if __name__ == "__main__":
    entracte()
